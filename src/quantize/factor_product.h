// Products with the Cholesky factor of a Hessian, for a group of rows side by side.
#pragma once

#include <cstdint>

#include "quantize/hessian_factor.h"

namespace cria {

// Part of U: the rows of a block, the columns of blocks [first, end). REQUIRES: rows <= first.
struct FactorPart {
  std::int64_t rows, first, end;
};

// out [kHessianBlock][n_lanes] += U[part] x; x [positions of the columns][n_lanes].
void add_factor_product(const HessianFactor& factor, const FactorPart& part, const float* x,
                        std::int64_t n_lanes, float* out);

// out [kHessianBlock][n_lanes] = the block of left U; left [n_positions][n_lanes].
void gradients_of_block(const HessianFactor& factor, std::int64_t block, const float* left,
                        std::int64_t n_lanes, float* out);

// left [n_positions][n_lanes] += changes U^T; changes [kHessianBlock][n_lanes] of the block.
void add_changes_of_block(const HessianFactor& factor, std::int64_t block, const float* changes,
                          std::int64_t n_lanes, float* left);

}  // namespace cria
