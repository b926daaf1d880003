// Plans that nobody vouches for: bytes as they are, and as edits of a valid plan. What init() takes
// must run within its memory, whatever the plan says.
#include <cstring>
#include <vector>

#include "delegates/cpu/cpu_delegate.h"
#include "delegates/fake_host_for_test.h"
#include "format/plan/plan_example.h"

namespace {

constexpr std::uint64_t kMaxScratch = 1 << 20;  // larger plans are prepared, not run
constexpr std::int64_t kMaxLogits = 1 << 16;

void try_plan(std::span<const std::byte> blob, const char* act) {
  static cria::FakeHost* host = [] {
    auto* made = new cria::FakeHost;
    made->add_weights(cria::example_plan().weights);
    made->listen();
    return made;
  }();
  const cria_delegate* delegate = cria::cpu_delegate();
  const cria_option option{"act", act};
  void* handle = nullptr;
  if (delegate->init(host->table(), {blob.data(), blob.size()}, &option, 1, &handle) != 0) return;
  const auto plan = cria::decode_plan(blob, "fuzz");
  if (plan->scratch_bytes <= kMaxScratch && plan->n_vocab <= kMaxLogits &&
      plan->kv.bytes_per_position() <= kMaxScratch) {
    cria::FakeArguments arguments(*plan, 1, 2);
    arguments.position = 1;
    delegate->execute(handle, arguments.args.data(), arguments.args.size());
    host->records.clear();
    host->shown.clear();
  }
  delegate->destroy(handle);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const char* act = size % 2 == 0 ? "a8" : "a16";
  try_plan({reinterpret_cast<const std::byte*>(data), size}, act);
  static const std::vector<std::byte> example = cria::encode_plan(cria::example_plan());
  std::vector<std::byte> edited = example;
  for (std::size_t i = 0; i + 2 < size && i < 12; i += 3) {
    const std::size_t at = (data[i] * 256u + data[i + 1]) % edited.size();
    edited[at] = static_cast<std::byte>(data[i + 2]);
  }
  try_plan(edited, act);
  return 0;
}
