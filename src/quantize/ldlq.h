// LDLQ over blocks of eight columns: GPTQ for codebooks of vectors (E8P).
//
// With H + damping I = U^T U (quantize/hessian_factor.h) and o, o' octets of positions, from the
// last to the first
//
//   aim[o] = w[o] + U[o][o]^-1 sum_{o' > o} U[o][o'] e[o'],   q[o] = nearest point to aim[o],
//   e[o] = w[o] - q[o]
//
// which for each octet minimises |U[o][o] (aim[o] - q[o])|^2, its share of e (H + damping I) e^T,
// if U[o][o] were a multiple of the identity: incoherence (compile/rotate_model.h) makes it nearly
// so. U[o][o]^-1 U[o][o'] are the blocks of the unit triangle of the block LDL decomposition.
//
// Scales: each row is rounded with some multiples of the scale that it wants without feedback (what
// is fed back makes the aims wider than the weights). A scale for the whole row is then fitted:
// with y = w U^T and z = q U^T, s <- s <y, z> / <z, z>. The multiple that leaves least stays.
//
// Sweeps: an octet did not know what those rounded after it would leave. So each is rounded again,
// to the point nearest to where the gradient of e (H + damping I) e^T would vanish, if that lowers
// it; then the scale is fitted again. Divergence on models/cria-tiny with 0, 1, 3 sweeps: e8p2
// 0.1198, 0.1153, 0.1128; e8p3 0.0360, 0.0329, 0.0327; e8p4 0.0097, 0.0088, 0.0086.
//
// Tseng et al., "QuIP#: even better LLM quantization with Hadamard incoherence and lattice
// codebooks", 2024, section 4.2; the fit of the scale and the sweeps are ours.
#pragma once

#include <span>

#include "base/result.h"
#include "base/thread_pool.h"
#include "quantize/hessian_factor.h"
#include "quantize/matrix.h"
#include "quantize/rounding.h"
#include "tensor/encoding.h"

namespace cria {

// As round_gptq(). REQUIRES: an E8P encoding; octets of positions are octets of columns (natural
// order or ColumnOrder::kByOctets); factor.n_cols() == weights.n_cols == importance.size();
// n_sweeps >= 0.
Result<RoundedMatrix> round_ldlq(const Matrix& weights, Encoding encoding,
                                 std::span<const float> importance, const HessianFactor& factor,
                                 ThreadPool& pool, int n_sweeps = 1);

}  // namespace cria
