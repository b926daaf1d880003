// Weights as GPTQ and AutoAWQ store them: w[r][k] = (code - zero) * scale, with a zero point and a
// scale for each row and group of columns.
//
// GPTQ: codes of 2, 3, 4 or 8 bits, a stream of bits for each row, lowest bit first: word w of
// qweight [n_cols * bits / 32, n_rows] has bits 32w and up of the stream. Zero points are such a
// stream for each group, along the rows: qzeros [n_groups, n_rows * bits / 32]. Version 1 stores
// zero - 1 (in `bits` bits: 15 stands for zero), version 2 the zero itself. scales [n_groups,
// n_rows]. g_idx [n_cols] gives each column its group; without it, group_size columns in order are
// a group. Source: IST-DASLab/gptq, quant.py; ModelCloud/GPTQModel, nn_modules/qlinear.
//
// AWQ ("gemm"): codes of 4 bits; word [k][c] of qweight [n_cols, n_rows / 8] has rows 8c, 8c+2,
// 8c+4, 8c+6, 8c+1, 8c+3, 8c+5, 8c+7 from its lowest bits up; qzeros [n_groups, n_rows / 8]
// likewise; scales [n_groups, n_rows]. Source: casper-hansen/AutoAWQ, awq/modules/linear/gemm.py.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "base/result.h"
#include "tensor/elements.h"
#include "tensor/row_source.h"

namespace cria {

// The tensors of one matrix, as they were found.
struct GptqTensors {
  int bits = 4;
  std::int64_t group_size = -1;  // columns; -1: all
  bool zeros_less_one = true;    // version 1
  Elements<std::uint32_t> codes;
  Elements<std::uint32_t> zeros;
  Elements<std::uint16_t> scales;               // half-float bits
  std::optional<Elements<std::int32_t>> g_idx;  // [1, n_cols]
};

struct AwqTensors {
  std::int64_t group_size = -1;
  Elements<std::uint32_t> codes;
  Elements<std::uint32_t> zeros;
  Elements<std::uint16_t> scales;
};

// kBadInput says which tensor has which shape or value, and what a matrix [n_rows, n_cols] needs.
// Reads zero points and g_idx, but no codes. The tensors' bytes must outlive the result.
Result<std::shared_ptr<const RowSource>> open_gptq_rows(const GptqTensors& tensors,
                                                        std::int64_t n_rows, std::int64_t n_cols);
Result<std::shared_ptr<const RowSource>> open_awq_rows(const AwqTensors& tensors,
                                                       std::int64_t n_rows, std::int64_t n_cols);

}  // namespace cria
