// What rows of weights (or of their errors) amount to in the output of a linear.
#pragma once

#include "base/thread_pool.h"
#include "quantize/hessian_factor.h"
#include "quantize/matrix.h"

namespace cria {

// sum over the rows x of x H x^T, H [n, n] symmetric. The products in floats, their sum in doubles.
// The same bits on every instruction set and for any number of threads.
// REQUIRES: rows.n_cols == hessian.n_cols.
double output_square(const Matrix& rows, const Matrix& hessian, ThreadPool& pool);

// The same from the factor of H, half the work: sum |x U^T|^2 - added |x|^2.
double output_square(const Matrix& rows, const HessianFactor& factor, ThreadPool& pool);

}  // namespace cria
