#!/usr/bin/env bash
# Runs the kernel tests of the loader on another kernel, in a virtual machine: the verifier, the maps and the hooks of
# the oldest kernel that is supported are not those of the machine the tests were written on.
#
#   enforcer-ebpf/oldest-kernel.sh                      Debian 11's 5.10, all kernel tests
#   enforcer-ebpf/oldest-kernel.sh 6.1                  Debian 12's 6.1
#   enforcer-ebpf/oldest-kernel.sh 5.10 loading rules   only the tests whose names contain one of these words
#
# The kernel comes from Debian's mirrors, by apt with settings of its own, so nothing is installed and the sources of this
# machine stay as they are. The virtual machine has nothing but the test binary, ip(8), busybox and the libraries they
# need, in memory. It is emulated, which is slow: a test takes a minute. QEMU_ACCEL=kvm is much faster where it works;
# nested virtualisation may hang. It is no part of the gate.
#
# Needs: apt, dpkg-deb, qemu-system-x86_64, busybox (static), ip and cargo, on Debian or a relative of it:
#   apt-get install qemu-system-x86 busybox-static iproute2
# Keeps downloads in ~/.cache/pci-segment/kernels. The whole console is in console.log there.
set -euo pipefail

version="${1:-5.10}"
shift || true
words=("$@")
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/pci-segment/kernels"
memory=3072
modules=(dummy veth tun sch_ingress cls_bpf inet_diag tcp_diag udp_diag llc stp garp mrp 8021q)

case "$version" in
  5.10) suite=bullseye ;;
  6.1) suite=bookworm ;;
  *) sed -n '2,18p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac

missing=()
for tool in apt-get dpkg-deb qemu-system-x86_64 busybox ip cargo ldd; do
  command -v "$tool" >/dev/null || missing+=("$tool")
done
if ((${#missing[@]})); then
  echo "oldest-kernel.sh: not here: ${missing[*]}; try: apt-get install qemu-system-x86 busybox-static iproute2" >&2
  exit 1
fi

# Unpacks the newest kernel of the suite below $cache/$suite/root, once.
fetch_kernel() {
  local own="$cache/$suite" list="$cache/$suite/sources.list"
  if compgen -G "$own/root/boot/vmlinuz-*" >/dev/null; then
    return
  fi
  mkdir -p "$own/lists/partial" "$own/archives/partial"
  local key=/usr/share/keyrings/debian-archive-keyring.gpg
  {
    echo "deb [signed-by=$key] http://deb.debian.org/debian $suite main"
    echo "deb [signed-by=$key] http://deb.debian.org/debian-security $suite-security main"
  } > "$list"
  local apt=(-q -o "Dir::Etc::SourceList=$list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$own/lists"
    -o "Dir::Cache=$own" -o APT::Sandbox::User=root)
  apt-get "${apt[@]}" update >&2
  local package
  package="$(apt-cache "${apt[@]}" depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p' | head -n 1)"
  (cd "$own" && apt-get "${apt[@]}" download "$package" >&2)
  dpkg-deb -x "$own/$package"_*.deb "$own/root"
}

# Copies a program with the libraries it loads.
copy_program() {
  install -D "$1" "$2"
  { ldd "$1" 2>/dev/null || true; } | grep -o '/[^ ]*' | while read -r library; do
    install -D "$library" "$image$library"
  done
}

fetch_kernel
kernel="$(compgen -G "$cache/$suite/root/boot/vmlinuz-*" | head -n 1)"
echo "building the kernel tests" >&2
binary="$(cd "$here/.." && cargo test -q -p enforcer --test kernel --no-run --message-format=json \
  | grep -o '"executable":"[^"]*/kernel-[^"]*"' | tail -n 1 | cut -d '"' -f 4)"

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
image="$work/image"
mkdir -p "$image"/{bin,dev,proc,sys,run,tmp,modules}
install -D "$(command -v busybox)" "$image/bin/busybox"
copy_program "$(readlink -f "$(command -v ip)")" "$image/bin/ip"
copy_program "$binary" "$image/bin/kernel-tests"
if [[ -n "${PCI_SEGMENT_BPF_OBJECT:-}" ]]; then
  install "$PCI_SEGMENT_BPF_OBJECT" "$image/object.bpf.o"
fi
for module in "${modules[@]}"; do
  find "$cache/$suite/root/lib/modules" -name "$module.ko" -exec cp {} "$image/modules/" \;
done
printf '%s\n' "${modules[@]}" > "$image/modules/order"
printf '%s\n' "${words[@]+"${words[@]}"}" > "$image/words"
cat > "$image/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin CI=true HOME=/tmp
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mount -t bpf bpf /sys/fs/bpf
mkdir -p /run/netns
while read -r module; do
  [ -e "/modules/$module.ko" ] && insmod "/modules/$module.ko"
done < /modules/order
[ -e /object.bpf.o ] && export PCI_SEGMENT_BPF_OBJECT=/object.bpf.o
[ -e /sys/kernel/btf/vmlinux ] || echo "this kernel has no BTF"
ip link set lo up
ulimit -n 8192
# One word per line, none of them with spaces.
kernel-tests --test-threads=1 --nocapture $(cat /words)
echo "kernel-tests ended with $?"
poweroff -f
INIT
chmod +x "$image/init"
(cd "$image" && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1) > "$work/initramfs"

echo "booting $(basename "$kernel")" >&2
log="$cache/console.log"
qemu-system-x86_64 -accel "${QEMU_ACCEL:-tcg,thread=multi}" -cpu max -smp 2 -m "$memory" -no-reboot -nographic -nic none \
  -kernel "$kernel" -initrd "$work/initramfs" -append "console=ttyS0 quiet panic=-1 oops=panic" < /dev/null | tee "$log"
grep -q '^kernel-tests ended with 0' "$log"
