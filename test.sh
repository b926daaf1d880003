#!/usr/bin/env bash
# Sets up as quickstart.sh does, then runs every test: the layers and the format, all tests of the release build, the Arm
# kernels under emulation, and what reads untrusted input, and the kernels, once more under the address and
# undefined-behaviour sanitizers.
set -euo pipefail
cd "$(dirname "$0")"
source ./setup.sh

cria_install "${CRIA_PACKAGES[@]}" "${CRIA_TEST_PACKAGES[@]}"
python3 tools/check_layers.py
tools/lint.sh

cmake --preset release -DCRIA_TESTS=ON -DCRIA_BENCHES=ON >/dev/null
cria_build release
ctest --test-dir build/release --output-on-failure -j "$(nproc)"

# On an Arm machine the release build has tested them.
if [ "$(uname -m)" = aarch64 ]; then
  echo "Arm kernels: tested above, on this processor"
elif cria_install_aarch64; then
  cmake --preset aarch64 >/dev/null
  cria_build aarch64 --target kernels_test
  # In as many parts as there are cores.
  shards="$(nproc)"
  seq 0 $((shards - 1)) | xargs -P "$shards" -I{} env GTEST_TOTAL_SHARDS="$shards" GTEST_SHARD_INDEX={} \
    qemu-aarch64-static -cpu max build/aarch64/bin/kernels_test --gtest_brief=1 \
    --gtest_filter='*EqualsGeneric*:Dispatch*'
else
  echo "**** NOT TESTED: the NEON kernels. apt-get could not install ${CRIA_AARCH64_PACKAGES[*]} (see above)." >&2
fi

cmake --preset asan >/dev/null
cria_build asan --target sanitized_tests
ctest --test-dir build/asan --output-on-failure -j "$(nproc)" -L sanitized
