// From a matrix of floats to the codes of an encoding: the methods behind one signature.
//
// All of them minimise, for each row w, the error of the linear's output on the calibration text,
//   (w - q(w))^T H (w - q(w)),
// with what they know of H: nothing (the identity), its diagonal (importance), or all of it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "quantize/clip.h"
#include "quantize/hessian_factor.h"
#include "quantize/matrix.h"
#include "quantize/rtn.h"
#include "tensor/encoding.h"
#include "tensor/row_codes.h"

namespace cria {

enum class RoundingMethod : std::uint8_t {
  kNearest,  // each weight by itself; scales by (importance-weighted) search
  kGptq,     // column by column, the error of each pushed into those to come (needs a Hessian);
             // E8P: eight columns at a time (LDLQ, quantize/ldlq.h)
};

struct RoundingRequest {
  RoundingMethod method = RoundingMethod::kNearest;
  Encoding encoding = Encoding::kQ4;
  // [n_cols] mean square of the input: weights of the search for scales. Empty: all columns alike
  // (kGptq: the diagonal of its Hessian).
  std::span<const float> importance;
  const Matrix* hessian = nullptr;  // [n_cols, n_cols]; kGptq needs it or its factor
  double damping = 0.01;            // kGptq: share of the mean diagonal that is added to it
  // Of the same Hessian, if there are several matrices with one input: HessianFactor::create() is
  // most of the work for wide inputs. Instead of hessian and damping; in rounding_order().
  const HessianFactor* factor = nullptr;
  const BlockMoments* clip = nullptr;  // kNearest: large weights are cut off where the output gains
};

// The order in which kGptq goes through columns, best for scalar codes, needed for E8P.
ColumnOrder rounding_order(Encoding encoding);

struct RoundedMatrix {
  std::vector<RowCodes> rows;  // [n_rows]
  QuantizeError error;         // of the weights themselves
  double output_error = 0;  // sum over rows of e^T H e (the diagonal of H if that is all there is)
  double output_sum = 0;    // sum over rows of w^T H w
  double damping = 0;       // kGptq: what was used in the end
};

// The result depends on nothing but the arguments: same codes on every instruction set and for any
// number of threads. kBadInput for NaN, infinity or weights that the encoding cannot hold, naming
// row and column; kUnsupported when the method cannot make the encoding; kInvalidArgument when a
// method lacks its statistics or their sizes differ.
Result<RoundedMatrix> round_matrix(const Matrix& weights, const RoundingRequest& request,
                                   ThreadPool& pool);

}  // namespace cria
