#include "model/hf_quantization.h"

#include <algorithm>
#include <initializer_list>

#include "base/json/json.h"
#include "base/quote.h"

namespace cria {
namespace {

using Json = nlohmann::json;

// AutoAWQ and AutoGPTQ have spelled some members in two ways.
const Json* first_member(const Json& config, std::initializer_list<const char*> names,
                         const char** found) {
  for (const char* name : names) {
    *found = name;
    if (const Json* member = json_member(config, name)) return member;
  }
  *found = *names.begin();
  return nullptr;
}

Result<std::int64_t> required_integer(const Json& config, std::initializer_list<const char*> names,
                                      std::string_view what) {
  const char* name = nullptr;
  if (first_member(config, names, &name) == nullptr) {
    return bad_input("{}: quantization_config has no {}", what, quote(name));
  }
  return json_integer(config, name, 0, what);
}

// Every member that may name a layout, each of which must be one of `known`.
Status check_layout(const Json& config, std::initializer_list<const char*> members,
                    std::initializer_list<std::string_view> known, std::string_view what) {
  for (const char* member : members) {
    CRIA_ASSIGN_OR_RETURN(std::string layout, json_text(config, member, *known.begin(), what));
    std::ranges::transform(layout, layout.begin(),
                           [](char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; });
    if (std::ranges::find(known, layout) != known.end()) continue;
    return unsupported("{}: {} of quantization_config is {}; only {} is supported", what,
                       quote(member), quote(layout), fmt::join(known, " and "));
  }
  return {};
}

Status read_group_size(const Json& config, std::string_view what, HfQuantization& result) {
  CRIA_ASSIGN_OR_RETURN(result.group_size,
                        required_integer(config, {"group_size", "q_group_size"}, what));
  if (result.group_size == -1 || result.group_size > 0) return {};
  return bad_input("{}: group_size is {}, expected -1 or a positive number", what,
                   result.group_size);
}

Status read_gptq(const Json& config, std::string_view what, HfQuantization& result) {
  CRIA_ASSIGN_OR_RETURN(const std::int64_t bits, required_integer(config, {"bits"}, what));
  if (bits != 2 && bits != 3 && bits != 4 && bits != 8) {
    return unsupported("{}: GPTQ of {} bits; only 2, 3, 4 and 8 are supported", what, bits);
  }
  result.bits = static_cast<double>(bits);
  CRIA_RETURN_IF_ERROR(read_group_size(config, what, result));
  CRIA_ASSIGN_OR_RETURN(result.act_order, json_bool(config, "desc_act", false, what));
  CRIA_RETURN_IF_ERROR(
      check_layout(config, {"checkpoint_format", "format"}, {"gptq", "gptq_v2"}, what));
  CRIA_RETURN_IF_ERROR(check_layout(config, {"pack_dtype"}, {"int32"}, what));
  CRIA_ASSIGN_OR_RETURN(const bool marlin, json_bool(config, "is_marlin_format", false, what));
  if (marlin)
    return unsupported("{}: GPTQ in the layout of Marlin; only gptq and gptq_v2 is supported",
                       what);
  const Json* dynamic = json_member(config, "dynamic");
  if (dynamic != nullptr && !dynamic->empty()) {
    return unsupported(
        "{}: quantization_config has \"dynamic\" settings a module; only one for all is supported",
        what);
  }
  CRIA_ASSIGN_OR_RETURN(const std::string format, json_text(config, "format", "gptq", what));
  CRIA_ASSIGN_OR_RETURN(const std::string layout,
                        json_text(config, "checkpoint_format", format, what));
  result.zeros_less_one = layout == "gptq";
  return {};
}

Status read_awq(const Json& config, std::string_view what, HfQuantization& result) {
  CRIA_ASSIGN_OR_RETURN(const std::int64_t bits, required_integer(config, {"bits", "w_bit"}, what));
  if (bits != 4) return unsupported("{}: AWQ of {} bits; only 4 is supported", what, bits);
  CRIA_RETURN_IF_ERROR(read_group_size(config, what, result));
  CRIA_RETURN_IF_ERROR(
      check_layout(config, {"version", "format", "checkpoint_format"}, {"gemm"}, what));
  CRIA_ASSIGN_OR_RETURN(const bool zero_point, json_bool(config, "zero_point", true, what));
  if (zero_point) return {};
  return unsupported("{}: AWQ without zero points; only \"zero_point\": true is supported", what);
}

Status read_exl2(const Json& config, std::string_view what, HfQuantization& result) {
  CRIA_ASSIGN_OR_RETURN(result.bits, json_number(config, "bits", 0, what));
  if (result.bits >= 1 && result.bits <= 9) return {};
  return bad_input("{}: EXL2 of {} bits a weight, expected 2 to 8", what, result.bits);
}

}  // namespace

const char* HfQuantization::method_name() const {
  switch (method) {
    case HfQuantMethod::kGptq:
      return "gptq";
    case HfQuantMethod::kAwq:
      return "awq";
    case HfQuantMethod::kExl2:
      return "exl2";
  }
  return "";
}

std::string HfQuantization::description() const {
  if (method == HfQuantMethod::kExl2) return fmt::format("EXL2, {} bits a weight", bits);
  std::string text = method == HfQuantMethod::kAwq ? "AWQ" : zeros_less_one ? "GPTQ v1" : "GPTQ v2";
  text += fmt::format(", {} bits, ", bits);
  text += group_size == -1 ? "one group a row" : fmt::format("groups of {}", group_size);
  if (act_order) text += ", act-order";
  return text;
}

Result<HfQuantization> read_hf_quantization(const Json& config, std::string_view what) {
  if (!config.is_object()) {
    return bad_input("{}: quantization_config is a {}, expected an object", what,
                     config.type_name());
  }
  CRIA_ASSIGN_OR_RETURN(const std::string method,
                        json_text(config, "quant_method", "unnamed", what));
  HfQuantization result;
  if (method == "gptq") {
    result.method = HfQuantMethod::kGptq;
    CRIA_RETURN_IF_ERROR(read_gptq(config, what, result));
  } else if (method == "awq") {
    result.method = HfQuantMethod::kAwq;
    CRIA_RETURN_IF_ERROR(read_awq(config, what, result));
  } else if (method == "exl2") {
    result.method = HfQuantMethod::kExl2;
    CRIA_RETURN_IF_ERROR(read_exl2(config, what, result));
  } else {
    return unsupported(
        "{}: the weights are quantized by {}; only gptq, awq and exl2 are supported, and f32, f16 "
        "and bf16",
        what, quote(method));
  }
  return result;
}

}  // namespace cria
