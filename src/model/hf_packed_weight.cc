#include "model/hf_packed_weight.h"

#include <algorithm>

#include "base/quote.h"
#include "tensor/exl2_rows.h"
#include "tensor/gptq_rows.h"

namespace cria {
namespace {

// The tensors of one module; notes which were looked at.
class Module {
 public:
  Module(const std::string& name, const FindSafetensor& find) : name_(name), find_(find) {}

  const SafetensorsTensor* find(const char* part) {
    const SafetensorsTensor* tensor = find_(name_ + "." + part);
    if (tensor != nullptr) used_.push_back(tensor->name);
    return tensor;
  }

  // A tensor of one or two dimensions; one is a matrix of one row.
  template <typename T>
  Result<Elements<T>> read(const char* part, SafetensorsDtype dtype, std::size_t n_dims) {
    const SafetensorsTensor* tensor = find(part);
    if (tensor == nullptr) return bad_input("{} is missing", quote(part));
    if (tensor->dtype != dtype || tensor->shape.size() != n_dims) {
      return bad_input("{} is {} with {} dimensions, expected {} with {}", quote(part),
                       safetensors_dtype_name(tensor->dtype), tensor->shape.size(),
                       safetensors_dtype_name(dtype), n_dims);
    }
    return Elements<T>{n_dims == 1 ? 1 : tensor->shape[0], tensor->shape.back(), tensor->bytes};
  }

  // Some writers give every module a bias, of zeros.
  Status check_bias() {
    const SafetensorsTensor* bias = find("bias");
    if (bias == nullptr ||
        std::ranges::all_of(bias->bytes, [](std::byte b) { return b == std::byte{0}; }))
      return {};
    return unsupported("\"bias\" is not all zeros; a Llama has no biases");
  }

  std::vector<std::string> used() && { return std::move(used_); }

 private:
  const std::string& name_;
  const FindSafetensor& find_;
  std::vector<std::string> used_;
};

using Rows = Result<std::shared_ptr<const RowSource>>;

Rows open_gptq(const HfQuantization& quantization, Module& module, std::int64_t n_rows,
               std::int64_t n_cols) {
  GptqTensors tensors;
  tensors.bits = static_cast<int>(quantization.bits);
  tensors.group_size = quantization.group_size;
  tensors.zeros_less_one = quantization.zeros_less_one;
  CRIA_ASSIGN_OR_RETURN(tensors.codes,
                        module.read<std::uint32_t>("qweight", SafetensorsDtype::kI32, 2));
  CRIA_ASSIGN_OR_RETURN(tensors.zeros,
                        module.read<std::uint32_t>("qzeros", SafetensorsDtype::kI32, 2));
  CRIA_ASSIGN_OR_RETURN(tensors.scales,
                        module.read<std::uint16_t>("scales", SafetensorsDtype::kF16, 2));
  // Without it the columns are in order, which act-order alone does not tell.
  if (quantization.act_order || module.find("g_idx") != nullptr) {
    CRIA_ASSIGN_OR_RETURN(tensors.g_idx,
                          module.read<std::int32_t>("g_idx", SafetensorsDtype::kI32, 1));
  }
  return open_gptq_rows(tensors, n_rows, n_cols);
}

Rows open_awq(const HfQuantization& quantization, Module& module, std::int64_t n_rows,
              std::int64_t n_cols) {
  AwqTensors tensors;
  tensors.group_size = quantization.group_size;
  CRIA_ASSIGN_OR_RETURN(tensors.codes,
                        module.read<std::uint32_t>("qweight", SafetensorsDtype::kI32, 2));
  CRIA_ASSIGN_OR_RETURN(tensors.zeros,
                        module.read<std::uint32_t>("qzeros", SafetensorsDtype::kI32, 2));
  CRIA_ASSIGN_OR_RETURN(tensors.scales,
                        module.read<std::uint16_t>("scales", SafetensorsDtype::kF16, 2));
  return open_awq_rows(tensors, n_rows, n_cols);
}

// exllamav2 writes 32 bits and computes with 16; both are in use.
Result<std::vector<std::int32_t>> read_permutation(Module& module) {
  const SafetensorsTensor* tensor = module.find("q_invperm");
  std::vector<std::int32_t> numbers;
  if (tensor != nullptr && tensor->dtype == SafetensorsDtype::kI16) {
    CRIA_ASSIGN_OR_RETURN(const auto stored,
                          module.read<std::uint16_t>("q_invperm", SafetensorsDtype::kI16, 1));
    for (std::int64_t k = 0; k < stored.n_cols; ++k) numbers.push_back(stored.at(0, k));
    return numbers;
  }
  CRIA_ASSIGN_OR_RETURN(const auto stored,
                        module.read<std::int32_t>("q_invperm", SafetensorsDtype::kI32, 1));
  for (std::int64_t k = 0; k < stored.n_cols; ++k) numbers.push_back(stored.at(0, k));
  return numbers;
}

Rows open_exl2(Module& module, std::int64_t n_rows, std::int64_t n_cols) {
  Exl2Tensors tensors;
  CRIA_ASSIGN_OR_RETURN(tensors.codes,
                        module.read<std::uint32_t>("q_weight", SafetensorsDtype::kI32, 2));
  CRIA_ASSIGN_OR_RETURN(tensors.scales,
                        module.read<std::uint32_t>("q_scale", SafetensorsDtype::kI32, 2));
  CRIA_ASSIGN_OR_RETURN(tensors.largest_scales,
                        module.read<std::uint16_t>("q_scale_max", SafetensorsDtype::kF16, 1));
  CRIA_ASSIGN_OR_RETURN(tensors.groups,
                        module.read<std::uint16_t>("q_groups", SafetensorsDtype::kI16, 1));
  CRIA_ASSIGN_OR_RETURN(tensors.packed_of_column, read_permutation(module));
  return open_exl2_rows(std::move(tensors), n_rows, n_cols);
}

Rows open_rows(const HfQuantization& quantization, Module& module, std::int64_t n_rows,
               std::int64_t n_cols) {
  CRIA_RETURN_IF_ERROR(module.check_bias());
  switch (quantization.method) {
    case HfQuantMethod::kGptq:
      return open_gptq(quantization, module, n_rows, n_cols);
    case HfQuantMethod::kAwq:
      return open_awq(quantization, module, n_rows, n_cols);
    case HfQuantMethod::kExl2:
      return open_exl2(module, n_rows, n_cols);
  }
  return internal_error("a method without a reader");
}

}  // namespace

std::string find_hf_codes(const std::string& module, const FindSafetensor& find) {
  for (const char* part : {".qweight", ".q_weight"}) {
    if (find(module + part) != nullptr) return module + part;
  }
  return {};
}

Result<std::optional<HfPackedWeight>> open_hf_packed_weight(const HfQuantization& quantization,
                                                            const std::string& module,
                                                            std::int64_t n_rows,
                                                            std::int64_t n_cols,
                                                            const FindSafetensor& find) {
  if (find_hf_codes(module, find).empty()) return std::optional<HfPackedWeight>();
  Module tensors(module, find);
  Rows rows = open_rows(quantization, tensors, n_rows, n_cols);
  if (!rows.ok()) return std::move(rows).status().with_context(module);
  return std::optional<HfPackedWeight>({std::move(*rows), std::move(tensors).used()});
}

}  // namespace cria
