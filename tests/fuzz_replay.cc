// Replays fuzz inputs without a fuzzer: `PROGRAM [SEED_FILE...]` runs the target on the empty
// input, on random bytes, on each seed file, and on truncated and bit-flipped copies of it. The
// sequence is fixed, so a crash comes back. Coverage-guided fuzzing is the `fuzz` preset.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

constexpr int kRandomInputs = 300;
constexpr int kMutationsPerSeed = 400;

using Bytes = std::vector<std::uint8_t>;

int run(const Bytes& bytes) { return LLVMFuzzerTestOneInput(bytes.data(), bytes.size()); }

// Changes a few bytes near a random place: headers are short, so half of the changes hit the first
// KiB.
Bytes mutate(Bytes bytes, std::mt19937& random) {
  if (bytes.empty()) return bytes;
  const std::size_t span =
      random() % 2 == 0 ? std::min<std::size_t>(bytes.size(), 1024) : bytes.size();
  const int n_changes = 1 + static_cast<int>(random() % 4);
  for (int i = 0; i < n_changes; ++i) {
    const std::size_t at = random() % span;
    switch (random() % 4) {
      case 0:
        bytes[at] ^= static_cast<std::uint8_t>(1u << (random() % 8));
        break;
      case 1:
        bytes[at] = 0xff;
        break;
      case 2:
        bytes[at] = static_cast<std::uint8_t>(random());
        break;
      default:
        bytes[at] = 0;
        break;
    }
  }
  if (random() % 8 == 0) bytes.resize(random() % bytes.size());
  return bytes;
}

}  // namespace

int main(int argc, char** argv) {
  std::mt19937 random(20260101);
  int n_runs = 0;
  run({});
  for (int i = 0; i < kRandomInputs; ++i, ++n_runs) {
    Bytes bytes(random() % 256);
    for (auto& b : bytes) b = static_cast<std::uint8_t>(random());
    run(bytes);
  }
  for (int arg = 1; arg < argc; ++arg) {
    std::ifstream file(argv[arg], std::ios::binary);
    if (!file) {
      std::fprintf(stderr, "skipping seed %s: cannot read it\n", argv[arg]);
      continue;
    }
    const Bytes seed{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    run(seed);
    for (int i = 0; i < kMutationsPerSeed; ++i, ++n_runs) run(mutate(seed, random));
  }
  std::printf("%d inputs survived\n", n_runs);
  return 0;
}
