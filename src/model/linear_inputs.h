// The activations that a decoder's linears read.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/config.h"

namespace cria {

struct LinearInputShape {
  std::string name;  // format/statistics/input_names.h
  std::int64_t n_cols = 0;
};

// In the order in which a step computes them.
std::vector<LinearInputShape> linear_inputs(const LlamaConfig& config);

}  // namespace cria
