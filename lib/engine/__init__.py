"""The engine: observe, plan, apply, verify. Knows no Proxmox, no SSH, no Kubernetes."""
