# One FreeBSD image for the four machines of the testbed, installed unattended
# from the installation DVD. See README.md.
#
#   packer init plugins && packer build -only=qemu.freebsd .

packer {
  required_version = ">= 1.6.6"
}

locals {
  # SHA-256 of FreeBSD-VERSION-RELEASE-amd64-dvd1.iso.
  pinned = {
    "14.2" = "sha256:b158612828166e5fb7b34a76718387b0ed40ef425cfdb88a067aa349713dcae4"
    "14.3" = "sha256:3e285faab79b139a8f75dfdc2650e6a79e68fdbe0aa82645828de8f3cf584da1"
    "14.4" = "sha256:953814f2a4dcfc32958902f3b1f30cf34b5ab872f405668793491481abfd177e"
  }
  media     = "amd64/amd64/ISO-IMAGES/${var.freebsd_version}"
  iso       = "FreeBSD-${var.freebsd_version}-RELEASE-amd64-dvd1.iso"
  checksums = "file:https://download.freebsd.org/releases/${local.media}/CHECKSUM.SHA512-FreeBSD-${var.freebsd_version}-RELEASE-amd64"
  iso_checksum = var.iso_checksum != "" ? var.iso_checksum : lookup(
    local.pinned, var.freebsd_version, local.checksums,
  )
  # Releases move to the archive some time after their end of life.
  iso_urls = length(var.iso_urls) > 0 ? var.iso_urls : [
    "https://download.freebsd.org/releases/${local.media}/${local.iso}",
    "https://archive.freebsd.org/old-releases/${local.media}/${local.iso}",
  ]

  dist_dir   = var.dist_dir != "" ? var.dist_dir : "${path.root}/../out/dist"
  output_dir = var.output_dir != "" ? var.output_dir : "${path.root}/../out/vm"

  # The DVD in single-user mode: a shell, a memory disk for /tmp, the network,
  # and the installer with http/installerconfig.
  boot_command = [
    "2<wait45s>",
    "<enter><wait5s>",
    "mdmfs -s 100m md1 /tmp<enter><wait2s>",
    "dhclient -p /tmp/dhclient.pid -l /tmp/dhclient.lease em0<enter><wait10s>",
    "fetch -o /tmp/installerconfig http://{{ .HTTPIP }}:{{ .HTTPPort }}/installerconfig<enter><wait5s>",
    "export BUILD_PASSWORD='${var.build_password}'<enter>",
    "bsdinstall script /tmp/installerconfig && reboot<enter>",
  ]
  shutdown_command = "/root/finish && shutdown -p now"
}

source "qemu" "freebsd" {
  vm_name            = "l4sllm-freebsd.qcow2"
  output_directory   = "${local.output_dir}/qemu"
  iso_urls           = local.iso_urls
  iso_checksum       = local.iso_checksum
  http_directory     = "${path.root}/http"
  boot_wait          = var.boot_wait
  boot_command       = local.boot_command
  ssh_username       = "root"
  ssh_password       = var.build_password
  ssh_timeout        = "60m"
  shutdown_command   = local.shutdown_command
  headless           = var.headless
  accelerator        = var.qemu_accelerator
  machine_type       = "q35"
  cpus               = var.cpus
  memory             = var.memory
  disk_size          = "${var.disk_size}M"
  disk_interface     = "virtio"
  disk_discard       = "unmap"
  disk_detect_zeroes = "unmap"
  format             = "qcow2"
  disk_compression   = true
  net_device         = "e1000"
}

source "virtualbox-iso" "freebsd" {
  vm_name              = "l4sllm-freebsd"
  output_directory     = "${local.output_dir}/virtualbox"
  iso_urls             = local.iso_urls
  iso_checksum         = local.iso_checksum
  http_directory       = "${path.root}/http"
  boot_wait            = var.boot_wait
  boot_command         = local.boot_command
  ssh_username         = "root"
  ssh_password         = var.build_password
  ssh_timeout          = "60m"
  shutdown_command     = local.shutdown_command
  headless             = var.headless
  guest_os_type        = "FreeBSD_64"
  guest_additions_mode = "disable"
  cpus                 = var.cpus
  memory               = var.memory
  disk_size            = var.disk_size
  hard_drive_interface = "sata"
  hard_drive_discard   = true
  format               = "ova"
  vboxmanage = [
    ["modifyvm", "{{ .Name }}", "--nictype1", "82540EM"],
    ["modifyvm", "{{ .Name }}", "--rtcuseutc", "on"],
  ]
}

source "vmware-iso" "freebsd" {
  vm_name              = "l4sllm-freebsd"
  output_directory     = "${local.output_dir}/vmware"
  iso_urls             = local.iso_urls
  iso_checksum         = local.iso_checksum
  http_directory       = "${path.root}/http"
  boot_wait            = var.boot_wait
  boot_command         = local.boot_command
  ssh_username         = "root"
  ssh_password         = var.build_password
  ssh_timeout          = "60m"
  shutdown_command     = local.shutdown_command
  headless             = var.headless
  guest_os_type        = "freebsd-64"
  version              = "14"
  cpus                 = var.cpus
  memory               = var.memory
  disk_size            = var.disk_size
  disk_adapter_type    = "sata"
  disk_type_id         = "0"
  network              = "nat"
  network_adapter_type = "e1000"
}

build {
  sources = [
    "source.qemu.freebsd",
    "source.virtualbox-iso.freebsd",
    "source.vmware-iso.freebsd",
  ]

  provisioner "shell" {
    inline = ["mkdir -p /root/build"]
  }

  # The tarball, and the ports that build packages of it.
  provisioner "file" {
    source      = "${local.dist_dir}/"
    destination = "/root/build"
  }

  provisioner "file" {
    source      = "${path.root}/files"
    destination = "/root/build"
  }

  provisioner "file" {
    source      = "${path.root}/testbed.conf"
    destination = "/root/build/testbed.conf"
  }

  provisioner "file" {
    source      = pathexpand(var.ssh_public_key_file)
    destination = "/root/build/authorized_keys"
  }

  provisioner "shell" {
    execute_command  = "chmod +x {{ .Path }}; {{ .Vars }} {{ .Path }}"
    environment_vars = ["BUILDER=${source.type}"]
    scripts = [
      "${path.root}/provision/system.sh",
      "${path.root}/provision/packages.sh",
    ]
  }

  # It ends logins with the password, so it is part of the shutdown command.
  provisioner "file" {
    source      = "${path.root}/provision/finish.sh"
    destination = "/root/finish"
  }

  provisioner "shell" {
    inline = ["chmod 700 /root/finish"]
  }

  # Left out with -except=vagrant.
  post-processor "vagrant" {
    keep_input_artifact = true
    output              = "${local.output_dir}/l4sllm-freebsd-{{ .Provider }}.box"
  }
}
