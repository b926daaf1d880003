// Weights as EXL2 stores them: inputs sorted by importance, in groups of 2, 3, 4, 5, 6 or 8 bits,
// the most important first.
//
// Packed column p is column k of the matrix where q_invperm[k] == p. Groups are runs of packed
// columns: q_groups has for each one its bits and the first of its rows of q_weight [*, n_rows
// padded to 32]; in them each matrix row (a column of q_weight) is a stream of bits, lowest first.
// w = (code - 2^(bits-1)) * scale; the scale of a row r and a group is (s + 1)^2 *
// q_scale_max[group] / 256, where s is nibble r % 8 of q_scale [n_groups, padded / 8] at [group][r
// / 8]. The scale is what exllamav2 computes with, a half float: q_scale_max / 256 rounded to half,
// times (s + 1)^2, rounded again. Source: turboderp/exllamav2,
// exllamav2_ext/cuda/{q_matrix.cu,pack_tensor.cu,quant/qdq_util.cuh}.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "tensor/elements.h"
#include "tensor/row_source.h"

namespace cria {

struct Exl2Tensors {
  Elements<std::uint32_t> codes;               // q_weight
  Elements<std::uint32_t> scales;              // q_scale
  Elements<std::uint16_t> largest_scales;      // q_scale_max [1, n_groups], half-float bits
  Elements<std::uint16_t> groups;              // q_groups [1, 2 * n_groups]
  std::vector<std::int32_t> packed_of_column;  // q_invperm [n_cols]
};

// As open_gptq_rows (tensor/gptq_rows.h). Reads q_groups.
Result<std::shared_ptr<const RowSource>> open_exl2_rows(Exl2Tensors tensors, std::int64_t n_rows,
                                                        std::int64_t n_cols);

}  // namespace cria
