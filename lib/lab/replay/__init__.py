"""The replay of a recording of a real Proxmox VE against a private lab in its shape."""
