// Bytes that decode are a plan that verifies, and encode to themselves. Every input is also tried
// behind a valid plan's first bytes, so that random bytes reach the lists.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "format/plan/plan.h"
#include "format/plan/plan_example.h"

namespace {

void check(std::span<const std::byte> bytes) {
  const auto plan = cria::decode_plan(bytes, "fuzz");
  if (!plan.ok()) return;
  if (!cria::verify_plan(*plan).ok()) std::abort();
  const std::vector<std::byte> again = cria::encode_plan(*plan);
  if (again.size() != bytes.size() || std::memcmp(again.data(), bytes.data(), again.size()) != 0) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  check(bytes);
  static const std::vector<std::byte> examples[] = {cria::encode_plan(cria::example_plan()),
                                                    cria::encode_plan(cria::example_split_plan())};
  if (size < 2) return 0;
  // The input as edits of a valid plan: pairs of bytes (where, what).
  std::vector<std::byte> edited = examples[data[1] % 2];
  for (std::size_t i = 0; i + 2 < size && i < 24; i += 3) {
    const std::size_t at = (data[i] * 256u + data[i + 1]) % edited.size();
    edited[at] = static_cast<std::byte>(data[i + 2]);
  }
  check(edited);
  check(std::span(edited).first(data[0] * 256u % edited.size()));
  return 0;
}
