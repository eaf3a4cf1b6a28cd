"""Groundwork: from a bare Proxmox VE cluster to a running Kubernetes cluster."""
