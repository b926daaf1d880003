#include "ir/graph.h"

namespace cria::ir {
namespace {

constexpr OpSpec kOpTable[kOpKindCount] = {
    {OpKind::kEmbed, "embed", 1, 1, 1, 1, true, 0},
    {OpKind::kRmsNormalize, "rms_normalize", 1, 1, 0, 0, true, kHasEpsilon},
    {OpKind::kMul, "mul", 1, 2, 0, 1, true, 0},
    {OpKind::kAdd, "add", 2, 2, 0, 0, true, 0},
    {OpKind::kLinear, "linear", 1, 2, 1, -1, true, 0},
    {OpKind::kRope, "rope", 2, 2, 1, 1, true, kHasHeads | kHasHeadDim},
    {OpKind::kKvAppend, "kv_append", 3, 3, 0, 0, false, kHasLayer | kHasKvHeads | kHasHeadDim},
    {OpKind::kAttention, "attention", 2, 2, 0, 0, true,
     kHasLayer | kHasHeads | kHasKvHeads | kHasHeadDim | kHasScale},
    {OpKind::kSilu, "silu", 1, 1, 0, 0, true, 0},
    {OpKind::kSlice, "slice", 1, 1, 0, 0, true, kHasColumn | kHasWidth},
    {OpKind::kLastRow, "last_row", 1, 1, 0, 0, true, 0},
    {OpKind::kOutput, "output", 1, 1, 0, 0, false, 0},
    {OpKind::kHadamard, "hadamard", 1, 1, 1, 1, true, kHasBlock | kHasInverse},
    {OpKind::kRmsNorm, "rms_norm", 1, 1, 1, 1, true, kHasEpsilon},
    {OpKind::kSwiGlu, "swiglu", 1, 1, 0, 0, true, 0},
};

}  // namespace

const char* dtype_name(DType dtype) { return dtype == DType::kF32 ? "f32" : "i64"; }

const OpSpec& op_spec(OpKind kind) { return kOpTable[static_cast<int>(kind)]; }

std::optional<OpKind> op_kind_from_name(std::string_view name) {
  for (const OpSpec& spec : kOpTable) {
    if (name == spec.name) return spec.kind;
  }
  return std::nullopt;
}

}  // namespace cria::ir
