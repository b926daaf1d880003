// How the weights of a Hugging Face folder are quantized: quantization_config of its config.json.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace cria {

enum class HfQuantMethod : std::uint8_t { kGptq, kAwq, kExl2 };

struct HfQuantization {
  HfQuantMethod method = HfQuantMethod::kGptq;
  double bits = 4;               // a code; kExl2: a weight, on average
  std::int64_t group_size = -1;  // columns that share a scale; -1: all; kExl2: not stated
  bool act_order = false;        // kGptq: columns were quantized in the order of their importance
  bool zeros_less_one = true;    // kGptq: version 1 of the format

  const char* method_name() const;  // "gptq", "awq", "exl2"
  std::string description() const;  // "GPTQ v1, 4 bits, groups of 128, act-order"
};

// From the object quantization_config. kUnsupported names the method or layout and says which are
// read: GPTQ ("gptq", "gptq_v2") of 2, 3, 4 or 8 bits, AutoAWQ's "gemm", EXL2. kBadInput for
// members of the wrong type or absurd values. `what` names the file in errors.
Result<HfQuantization> read_hf_quantization(const nlohmann::json& config, std::string_view what);

}  // namespace cria
