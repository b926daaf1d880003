// Command streams that nobody vouches for, given to the delegate: bytes as they are, and as edits
// of valid streams. What init() takes must run within its memory, whatever the stream says.
#include <algorithm>
#include <cstdlib>

#include "delegates/fake_host_for_test.h"
#include "delegates/sim_npu/sim_npu_delegate.h"
#include "lowered_decoder.h"

namespace {

using namespace cria;

constexpr std::uint64_t kMostBytes = 1 << 22;  // larger streams are prepared, not run
constexpr DecoderShape kShape{64, 96, 50, 4, 2, 32};

NpuCommands valid_commands(KvType kv_type, MethodKind kind) {
  const Result<NpuProfileFile> device = device_with_sram(256 << 10);
  DecoderShape shape = kShape;
  shape.kv_type = kv_type;
  if (!device.ok()) std::abort();
  Result<NpuCommands> commands = lower_decoder(decoder_plan(shape, kind), *device, true);
  if (!commands.ok()) std::abort();
  return *commands;
}

void try_stream(std::span<const std::byte> blob) {
  static FakeHost* host = [] {
    auto* made = new FakeHost;
    made->add_weights(valid_commands(KvType::kF16, MethodKind::kVerify).weights);
    made->listen();
    return made;
  }();
  void* handle = nullptr;
  const cria_delegate* delegate = sim_npu_delegate();
  if (delegate->init(host->table(), {blob.data(), blob.size()}, nullptr, 0, &handle) != 0) return;
  const auto commands = decode_npu_commands(blob, "fuzz");
  const std::uint64_t n_ctx = static_cast<std::uint64_t>(commands->cache.granularity()) * 2;
  if (commands->scratch_bytes <= kMostBytes &&
      static_cast<std::uint64_t>(commands->n_vocab) <= kMostBytes &&
      commands->cache.bytes_per_position() * n_ctx <= kMostBytes) {
    FakeArguments arguments(*commands, std::min<std::int64_t>(2, commands->max_tokens),
                            static_cast<std::int64_t>(n_ctx));
    delegate->execute(handle, arguments.args.data(), arguments.args.size());
    host->records.clear();
  }
  delegate->destroy(handle);
}

// A stream, and where it is worth changing: behind the text of the profile, which is read by
// another parser.
struct Seed {
  std::vector<std::byte> bytes;
  std::size_t first = 0;
};

const std::vector<Seed>& seeds() {
  static const std::vector<Seed> all = [] {
    std::vector<Seed> made;
    for (const auto& [type, kind] : {std::pair{KvType::kF16, MethodKind::kDecode},
                                     {KvType::kQ8, MethodKind::kDecode},
                                     {KvType::kF16, MethodKind::kVerify}}) {
      const NpuCommands commands = valid_commands(type, kind);
      made.push_back({encode_npu_commands(commands), commands.profile_text.size()});
    }
    // Heads that the processor makes weights for.
    const Result<NpuProfileFile> device = device_with_sram(256 << 10);
    if (!device.ok()) std::abort();
    const auto parts = lower_heads(
        with_split_attention(decoder_plan(kShape, MethodKind::kVerify), true), *device, true);
    if (!parts.ok()) std::abort();
    for (const NpuCommands& part : *parts)
      made.push_back({encode_npu_commands(part), part.profile_text.size()});
    return made;
  }();
  return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try_stream({reinterpret_cast<const std::byte*>(data), size});
  const Seed& seed = seeds()[size % seeds().size()];
  // Few changes at a time: the verifier refuses most streams with many.
  for (std::size_t i = 0; i + 3 <= size && i < 12; i += 3) {
    std::vector<std::byte> edited = seed.bytes;
    for (std::size_t k = i; k < i + 3 * (1 + i % 2) && k + 3 <= size; k += 3) {
      const std::size_t at =
          seed.first + (data[k] * 256u + data[k + 1]) % (edited.size() - seed.first);
      edited[at] = static_cast<std::byte>(data[k + 2]);
    }
    try_stream(edited);
  }
  return 0;
}
