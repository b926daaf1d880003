#!/usr/bin/env bash
# Installs the Debian packages that cria needs and that are missing. Sourced by quickstart.sh and test.sh.
# README.md says what each is for.

CRIA_PACKAGES=(g++ cmake ninja-build pkg-config libfmt-dev nlohmann-json3-dev libpcre2-dev libflatbuffers-dev
               libcli11-dev libtomlplusplus-dev libedit-dev pybind11-dev python3-dev)
CRIA_TEST_PACKAGES=(libgtest-dev libgmock-dev libbenchmark-dev clang-format)
# For the preset aarch64. Of PCRE2 and libedit the run-time libraries alone: see cmake/aarch64.cmake.
CRIA_AARCH64_PACKAGES=(g++-aarch64-linux-gnu qemu-user-static libfmt-dev:arm64 libgtest-dev:arm64 libgmock-dev:arm64
                       libpcre2-8-0:arm64 libedit2:arm64)

cria_as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# Never removes a package: where one would be in the way, this fails and apt-get says which.
cria_install() {
  local missing=()
  local package
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  echo "Installing: ${missing[*]}" >&2
  cria_as_root apt-get update -qq >&2 || return 1
  cria_as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends --no-remove "${missing[@]}" >&2
}

# What the preset aarch64 needs. Fails, and leaves the list of architectures as it was, where apt-get cannot install it.
cria_install_aarch64() {
  local added=0
  if ! dpkg --print-foreign-architectures | grep -qx arm64; then
    cria_as_root dpkg --add-architecture arm64 || return 1
    added=1
  fi
  cria_install "${CRIA_AARCH64_PACKAGES[@]}" && return 0
  [ "$added" -eq 0 ] || cria_as_root dpkg --remove-architecture arm64
  return 1
}

# Builds targets of a preset: cria_build PRESET [--target NAME...]. Quiet; the end of the log when it fails.
cria_build() {
  local log=build/$1.log
  cmake --build --preset "$@" >"$log" 2>&1 && return 0
  tail -n 60 "$log" >&2
  echo "the build failed; all of it is in $log" >&2
  return 1
}
