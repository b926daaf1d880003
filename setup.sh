#!/usr/bin/env bash
# Installs the Debian packages that cria needs and that are missing. Sourced by quickstart.sh and test.sh.
# README.md says what each is for.

CRIA_PACKAGES=(g++ cmake ninja-build pkg-config libfmt-dev nlohmann-json3-dev libpcre2-dev libflatbuffers-dev
               libcli11-dev libedit-dev pybind11-dev python3-dev)
CRIA_TEST_PACKAGES=(libgtest-dev libgmock-dev libbenchmark-dev clang-format)
# For the preset aarch64, after `dpkg --add-architecture arm64 && apt-get update`.
CRIA_AARCH64_PACKAGES=(g++-aarch64-linux-gnu qemu-user-static libfmt-dev:arm64 libpcre2-dev:arm64 libedit-dev:arm64
                       libgtest-dev:arm64 libgmock-dev:arm64 libflatbuffers-dev:arm64)

cria_install() {
  local missing=()
  local package
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  echo "Installing: ${missing[*]}" >&2
  local sudo=""
  [ "$(id -u)" -eq 0 ] || sudo=sudo
  $sudo apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

# Builds targets of a preset: cria_build PRESET [--target NAME...]. Quiet; the end of the log when it fails.
cria_build() {
  local log=build/$1.log
  cmake --build --preset "$@" >"$log" 2>&1 && return 0
  tail -n 60 "$log" >&2
  echo "the build failed; all of it is in $log" >&2
  return 1
}
