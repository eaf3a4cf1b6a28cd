# One guest, as the provider's own documentation clones it; what the test changes is a variable.
terraform {
  required_providers {
    proxmox = {
      source  = "bpg/proxmox"
      version = "0.111.0"
    }
  }
}

provider "proxmox" {}

variable "node" {
  type    = string
  default = "node2"
}

variable "memory" {
  type    = number
  default = 2048
}

variable "address" {
  type    = string
  default = "10.10.1.40"
}

variable "tags" {
  type    = list(string)
  default = ["groundwork"]
}

variable "reboot" {
  type    = bool
  default = false
}

resource "proxmox_virtual_environment_vm" "guest" {
  vm_id               = 140
  name                = "judged"
  node_name           = var.node
  pool_id             = "groundwork"
  tags                = var.tags
  migrate             = true
  reboot_after_update = var.reboot
  bios                = "ovmf"
  machine             = "q35"
  scsi_hardware       = "virtio-scsi-single"

  clone {
    vm_id        = 9002
    node_name    = "node1"
    datastore_id = "rbd"
    full         = true
  }

  agent {
    enabled = true
    timeout = "60s"
  }

  cpu {
    cores = 2
    type  = "host"
  }

  memory {
    dedicated = var.memory
  }

  disk {
    datastore_id = "rbd"
    interface    = "scsi0"
    size         = 12
    discard      = "on"
    iothread     = true
    ssd          = true
  }

  initialization {
    datastore_id = "rbd"
    interface    = "ide2"

    dns {
      servers = ["10.10.1.1"]
      domain  = "sddc.info"
    }

    ip_config {
      ipv4 {
        address = "${var.address}/24"
        gateway = "10.10.1.1"
      }
    }

    user_account {
      username = "sysadmin"
      keys     = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBBeTq0ztkvrFVqzJdhv4sLn9Q7fKR2TgM3fzt9GtTqv judge"]
    }
  }

  network_device {
    bridge = "vmbr0"
  }

  operating_system {
    type = "l26"
  }
}
