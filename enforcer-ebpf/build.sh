#!/usr/bin/env bash
# Builds the eBPF object from enforcer-ebpf/program. Building the product needs none of this: the object is committed
# beside the loader, together with the versions of the compiler that made it.
#
#   enforcer-ebpf/build.sh                      builds the object and puts it beside the loader
#   enforcer-ebpf/build.sh --check [OBJECT]     builds into a temporary directory and compares with the committed one.
#                                               Another compiler makes other bytes: if its versions are not the recorded
#                                               ones, the rebuilt object is copied to OBJECT (default: a temporary file)
#                                               and the last line begins with "versions-differ:" and names it, so that
#                                               tests can run on it (PCI_SEGMENT_BPF_OBJECT)
#   enforcer-ebpf/build.sh --tools              installs the compiler if need be, and names its versions
#
# The compiler is Debian 12's rustc-web (with library sources, for -Z build-std=core) and the bpf-linker that loads the
# same LLVM. bpf-linker is built once, with the stable cargo on PATH, below ~/.cache/pci-segment.
set -euo pipefail

bpf_linker_version=0.10.1   # the last release whose default features load the LLVM library at run time
llvm=22                     # the LLVM of rustc-web; bpf-linker must load the same
tools="${EBPF_TOOLCHAIN:-$HOME/.cache/pci-segment/ebpf-toolchain}"
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
committed="$here/loader/pci_segment.bpf.o"
bench="$here/loader/examples/datapath_speed/draw.bpf.o"   # what benchmarks make packets with; never part of the product
record="$committed.toolchain"

install_tools() {
  local packages=(rustc-web rust-web-src cargo-web rust-web-llvm "llvm-$llvm")
  if ! dpkg -s "${packages[@]}" >/dev/null 2>&1; then
    if [[ $EUID -ne 0 ]]; then
      echo "build.sh: as root, install: apt-get install ${packages[*]}" >&2
      exit 1
    fi
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q "${packages[@]}"
  fi
  if ! "$tools/bin/bpf-linker" --version 2>/dev/null | grep -qF "$bpf_linker_version"; then
    cargo install bpf-linker --version "$bpf_linker_version" --locked --root "$tools"
  fi
}

versions() {
  /usr/bin/rustc --version
  "$tools/bin/bpf-linker" --version
  "/usr/bin/llvm-objcopy-$llvm" --version | grep -o 'LLVM version .*'
}

# Builds and writes the object to $1, that of benchmarks to $2. No path of this machine gets into it: sources are named relative to the
# repository, and everything but what the kernel needs is stripped.
build() {
  local work sysroot
  work="$(mktemp -d)"
  trap 'rm -rf "$work"' RETURN
  sysroot="$(/usr/bin/rustc --print sysroot)"
  (
    cd "$here/program"
    export PATH="$tools/bin:/usr/bin:$PATH" RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1
    export LD_LIBRARY_PATH="/usr/lib/llvm-$llvm/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
    export CARGO_TARGET_DIR="$work/target" CARGO_INCREMENTAL=0
    unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS RUSTUP_TOOLCHAIN
    local separator=$'\x1f'
    local flags=(-C debuginfo=2 -C link-arg=--btf
      "--remap-path-prefix=$here=enforcer-ebpf"
      "--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}/registry/src=registry"
      "--remap-path-prefix=$work=target"
      "--remap-path-prefix=$sysroot=rust")
    export CARGO_ENCODED_RUSTFLAGS
    CARGO_ENCODED_RUSTFLAGS="$(IFS="$separator"; echo "${flags[*]}")"
    /usr/bin/cargo build --locked --release --quiet -Z build-std=core --target bpfel-unknown-none --bins
  )
  local release="$work/target/bpfel-unknown-none/release"
  "/usr/bin/llvm-objcopy-$llvm" --strip-debug --strip-unneeded "$release/pci_segment" "$1"
  "/usr/bin/llvm-objcopy-$llvm" --strip-debug --strip-unneeded "$release/bench" "$2"
}

case "${1:-}" in
  --tools)
    install_tools
    versions
    ;;
  --check)
    install_tools
    rebuilt="${2:-$(mktemp --suffix=.bpf.o)}"
    rebuilt_bench="$(mktemp --suffix=.bpf.o)"
    build "$rebuilt" "$rebuilt_bench"
    if [[ "$(versions)" != "$(cat "$record")" ]]; then
      diff <(versions) "$record" || true
      echo "versions-differ: $rebuilt"
    elif cmp "$rebuilt" "$committed" && cmp "$rebuilt_bench" "$bench"; then
      echo "same: $committed is what its sources build"
    else
      echo "build.sh: $committed is not what its sources build; run enforcer-ebpf/build.sh and commit it" >&2
      exit 1
    fi
    ;;
  "")
    install_tools
    build "$committed" "$bench"
    versions > "$record"
    ls -l "$committed"
    ;;
  *)
    sed -n '2,16p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
