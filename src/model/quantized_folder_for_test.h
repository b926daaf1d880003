// Small Hugging Face folders in the layouts of other quantizers, with the weights that they stand
// for: test support.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "format/safetensors/safetensors_builder.h"
#include "model/checkpoint_for_test.h"
#include "model/config.h"

namespace cria {

struct QuantizedModel {
  std::string quantization_config;  // of config.json
  SafetensorsBuilder tensors;
  // What each packed matrix holds, by canonical name: (row, column) -> weight.
  std::map<std::string, std::function<float(std::int64_t, std::int64_t)>> weights;
};

// The shape of these models: 2 layers, hidden 64, 2 heads of 32 sharing one key head, ffn 96, 40
// tokens (no multiple of 32), tied.
LlamaConfig quantized_model_config();

enum class GroupOrder { kInOrder, kShuffled };

struct GptqModelOptions {
  int bits = 4;
  std::int64_t group_size = 32;
  bool symmetric = false;
  bool version_1 = true;
  GroupOrder order = GroupOrder::kInOrder;
};
QuantizedModel small_gptq_model(const GptqModelOptions& options);
QuantizedModel small_awq_model();
// Groups of 5, 4 and 2 bits (8, 6 and 3 in the second layer); q_invperm in 16 bits in the first
// layer, 32 in the second. `with_head`: a head of 6 bits, although the config ties it.
QuantizedModel small_exl2_model(GroupOrder order, bool with_head);

// Writes config.json, model.safetensors and tokenizer.json.
void write_quantized_folder(const TemporaryFolder& folder, const QuantizedModel& model);

}  // namespace cria
