#!/bin/bash
# An arm64 Debian in a folder, emulated by qemu, with edgeresnet's base and [onnx] in /opt/edgeresnet.
#
#   sudo apt-get install debootstrap qemu-user-static
#   sudo tests/arm64/make_root.sh ROOT      makes it, or goes on with it; about ten minutes
#   sudo tests/arm64/make_root.sh ROOT COMMAND...      then also runs a command in it
#
# Must be root: it mounts, registers a binary format, and changes its root folder.
set -euo pipefail

root=$(realpath -m "$1")
shift
repository=$(realpath "$(dirname "$0")/../..")
suite=${SUITE:-bookworm}

register_qemu() {
  local formats=/proc/sys/fs/binfmt_misc
  mountpoint -q $formats || mount -t binfmt_misc binfmt_misc $formats
  [ -e $formats/qemu-aarch64 ] || cat /usr/lib/binfmt.d/qemu-aarch64.conf >$formats/register
}

# The mirror that this machine's own packages come from, unless MIRROR says another.
mirror() {
  # shellcheck disable=SC2016 # apt-get fills these in, not the shell
  apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' |
    awk -v suite="$suite" '$2 == suite { print $1; exit }'
}

# Not /sys: what it tells of an x86 processor makes ONNX Runtime for arm64 crash on import.
mount_proc() {
  mountpoint -q "$root/proc" || mount --rbind /proc "$root/proc"
  mount --make-rslave "$root/proc"
}

unmount_proc() {
  if mountpoint -q "$root/proc"; then umount --recursive "$root/proc"; fi
}

in_root() { chroot "$root" /usr/bin/env HOME=/root PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin "$@"; }

# Each step leaves a mark, so that a broken one is repeated and a finished one is not.
step() {
  local mark=$root/.done-$1
  if [ -e "$mark" ]; then return; fi
  echo "arm64: $1" >&2
  "$1" >&2
  touch "$mark"
}

first_stage() {
  local from
  from=${MIRROR:-$(mirror)}
  # With no mirror to name, debootstrap has its own.
  debootstrap --arch=arm64 --foreign --variant=minbase \
    --include=python3,python3-venv,ca-certificates "$suite" "$root" ${from:+"$from"}
}

second_stage() { in_root /debootstrap/debootstrap --second-stage; }

environment() {
  # Names and certificates as on this machine, which may stand behind a proxy.
  cp -L /etc/resolv.conf "$root/etc/resolv.conf"
  cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
  in_root python3 -m venv /opt/edgeresnet
}

install_package() {
  if diff -rq -x __pycache__ "$repository/edgeresnet" "$root/usr/src/edgeresnet/edgeresnet" \
    >/dev/null 2>&1 && [ -e "$root/.done-install" ]; then return; fi
  rm -f "$root/.done-install"
  rm -rf "$root/usr/src/edgeresnet"
  mkdir -p "$root/usr/src/edgeresnet"
  cp -r "$repository"/{pyproject.toml,README.md,LICENSE,edgeresnet,recipes} "$root/usr/src/edgeresnet/"
  in_root /opt/edgeresnet/bin/pip install -q '/usr/src/edgeresnet[onnx]' >&2
  in_root /opt/edgeresnet/bin/pip install -q --force-reinstall --no-deps /usr/src/edgeresnet >&2
  touch "$root/.done-install"
}

mkdir -p "$root"
register_qemu
trap unmount_proc EXIT
step first_stage
step second_stage
mount_proc
step environment
install_package
if [ $# -gt 0 ]; then in_root "$@"; fi
