#!/usr/bin/env bash
# Sets up as quickstart.sh does, then runs every test: the layers and the format, all tests of the release build, and
# what reads untrusted input, and the kernels, once more under the address and undefined-behaviour sanitizers.
set -euo pipefail
cd "$(dirname "$0")"
source ./setup.sh

cria_install "${CRIA_PACKAGES[@]}" "${CRIA_TEST_PACKAGES[@]}"
python3 tools/check_layers.py
tools/lint.sh

cmake --preset release -DCRIA_TESTS=ON -DCRIA_BENCHES=ON >/dev/null
cria_build release
ctest --test-dir build/release --output-on-failure

cmake --preset asan >/dev/null
cria_build asan --target sanitized_tests
ctest --test-dir build/asan --output-on-failure -L sanitized
