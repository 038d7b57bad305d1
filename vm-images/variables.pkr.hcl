variable "freebsd_version" {
  type        = string
  default     = "14.4"
  description = "Release of FreeBSD 14 to install. Packages come from pkg.FreeBSD.org, which builds them for the oldest supported release."

  validation {
    condition     = substr(var.freebsd_version, 0, 3) == "14."
    error_message = "The freebsd_version must be a release of FreeBSD 14, such as 14.4."
  }
}

variable "iso_checksum" {
  type        = string
  default     = ""
  description = "Checksum of the installation DVD: sha256:HEX, sha512:HEX, or file:URL of a checksum file. Empty: the pinned one, or for a release without one FreeBSD's checksum file."

  validation {
    condition = (
      var.iso_checksum == "" ||
      substr(var.iso_checksum, 0, 5) == "file:" ||
      substr(var.iso_checksum, 0, 7) == "sha256:" && length(var.iso_checksum) == 71 ||
      substr(var.iso_checksum, 0, 7) == "sha512:" && length(var.iso_checksum) == 135
    )
    error_message = "The iso_checksum must be sha256: or sha512: with all digits, or file:URL."
  }
}

variable "iso_urls" {
  type        = list(string)
  default     = []
  description = "Where the installation DVD is fetched from, tried in order; may be a local path. Empty: download.freebsd.org, then archive.freebsd.org."
}

variable "ssh_public_key_file" {
  type        = string
  default     = "~/.ssh/id_ed25519.pub"
  description = "Public key for root's login, the only login of the image."
}

variable "dist_dir" {
  type        = string
  default     = ""
  description = "Output directory of scripts/dist.sh. Empty: out/dist."
}

variable "output_dir" {
  type        = string
  default     = ""
  description = "Where the images go. Empty: out/vm."
}

variable "cpus" {
  type    = number
  default = 2
}

variable "memory" {
  type        = number
  default     = 4096
  description = "Memory of the machine that builds the image, in megabytes. Building the daemon needs about 3000."
}

variable "disk_size" {
  type        = number
  default     = 24576
  description = "Size of the disk in megabytes. It is allocated as it fills: about 12000 while building."
}

variable "headless" {
  type    = bool
  default = true
}

variable "qemu_accelerator" {
  type        = string
  default     = "kvm"
  description = "How QEMU runs the machine: kvm, hvf, whpx, nvmm, or tcg, which takes hours."
}

variable "boot_wait" {
  type        = string
  default     = "6s"
  description = "From power-on to the loader's menu, which waits 10 s. Longer on slow machines."
}

variable "build_password" {
  type        = string
  default     = "l4sllm-build"
  sensitive   = true
  description = "Password of root while the image is built. The image has none."
}
