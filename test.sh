#!/usr/bin/env bash
# Sets up as quickstart.sh does, then runs every test: the layers, the release build, and the sanitizers.
set -euo pipefail
cd "$(dirname "$0")"
source ./setup.sh

cria_install "${CRIA_PACKAGES[@]}" "${CRIA_TEST_PACKAGES[@]}"
python3 tools/check_layers.py

cmake --preset release -DCRIA_TESTS=ON -DCRIA_BENCHES=ON >/dev/null
cmake --build --preset release 2>&1 | tail -n 3
ctest --test-dir build/release --output-on-failure

cmake --preset asan >/dev/null
cmake --build --preset asan 2>&1 | tail -n 3
ctest --test-dir build/asan --output-on-failure
