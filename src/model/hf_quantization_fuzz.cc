// Folders in the layouts of other quantizers: config and tensors of one module, patched. What opens
// must decode.
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/json/json.h"
#include "format/fuzz_patches.h"
#include "model/hf_packed_weight.h"
#include "model/quantized_folder_for_test.h"

namespace {

constexpr const char* kModule = "model.layers.0.self_attn.k_proj";

// One file: the quantization_config, a line feed, the safetensors.
std::string file_of(const cria::QuantizedModel& model) {
  return model.quantization_config + "\n" + model.tensors.build();
}

void walk(const cria::RowSource& rows) {
  std::vector<float> floats(64);
  std::vector<cria::RowCodes> codes(1, cria::RowCodes(rows.encoding(), 64));
  std::vector<float> carried(64);
  for (std::int64_t r = 0; r < 32; ++r) {
    rows.decode_row(r, floats);
    if (!rows.why_inexact().empty()) continue;
    rows.split_row(r, codes[0]);
    cria::decode_codes(codes[0], carried);
    for (std::size_t k = 0; k < 64; ++k) {
      if (carried[k] != floats[k] && std::isfinite(floats[k])) std::abort();
    }
  }
}

void open_and_walk(std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const std::size_t end = text.find('\n');
  if (end == text.npos) return;
  const auto json = cria::parse_strict_json(text.substr(0, end), "config.json");
  if (!json.ok()) return;
  const auto quantization = cria::read_hf_quantization(*json, "config.json");
  const auto file = cria::SafetensorsFile::parse(bytes.subspan(end + 1), "m.safetensors");
  if (!quantization.ok() || !file.ok()) return;
  const auto rows =
      cria::open_hf_packed_weight(*quantization, kModule, 32, 64,
                                  [&](std::string_view name) { return file->find_tensor(name); });
  if (!rows.ok()) {
    if (rows.status().message().empty()) std::abort();
  } else if (*rows) {
    walk(*(*rows)->rows);
  }
}

// Only the tensors of kModule, so that patches meet them.
cria::QuantizedModel one_module(cria::QuantizedModel model) {
  for (const std::string& name : model.tensors.names()) {
    if (!name.starts_with(kModule)) model.tensors.erase_tensor(name);
  }
  return model;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using cria::GroupOrder;
  static const std::string kFiles[] = {
      file_of(one_module(cria::small_gptq_model({.bits = 3, .order = GroupOrder::kShuffled}))),
      file_of(one_module(cria::small_gptq_model({.bits = 4, .version_1 = false}))),
      file_of(one_module(cria::small_awq_model())),
      file_of(one_module(cria::small_exl2_model(GroupOrder::kShuffled, false))),
      file_of(one_module(cria::small_exl2_model(GroupOrder::kInOrder, false))),
  };
  for (const std::string& file : kFiles) cria::for_each_patched(file, {data, size}, open_and_walk);
  return 0;
}
