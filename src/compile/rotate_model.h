// Rotations of a model (QuaRot, arXiv 2404.00456; SpinQuant, arXiv 2405.16406): activations and the
// weights that meet them turn by random orthogonal matrices that cancel. Outliers spread over all
// channels, which rounds better.
//
//   R1  the residual stream: fused into the weights. A tied embedding stays as it is: the rows
//   looked
//       up are turned online, and turned back before the last norm.
//   R2  the values of each KV head: fused into attn_v's rows and attn_output's columns.
//   R4  the input of ffn_down: online, for activations in 8 bits.
//
// Incoherence as QuIP# (arXiv 2402.04396) wants it is a rotation of every linear's input, whatever
// the activations: R1 is one, R4 is one, and of attn_output, where R2 mixes the columns of a head
// only,
//
//   RO  all of the input of attn_output: online, after R2.
//
// QuIP# turns the output side, too. Here a scale belongs to a row, not to a matrix, and the error
// that rounding minimises is a sum over rows: mixing rows would change neither.
//
// (R3, of queries and keys, serves caches of few bits and is not here.)
#pragma once

#include "base/result.h"
#include "compile/edited_model.h"
#include "ir/graph.h"

namespace cria {

// What turns online besides the residual stream.
struct OnlineRotations {
  bool ffn_input = false;   // R4
  bool attn_input = false;  // RO
};

// Edits the weights; folds the norms first. The graphs need the passes below.
Status rotate_model(const OnlineRotations& online, EditedModel& model);

// Where the head is the embedding: R1 behind the look-up, its inverse before the last norm. Returns
// the number of ops added; none for an untied head. Before fusion. Needs no other pass.
int rotate_residual(ir::Graph& graph);

// R4 in front of each linear that takes the product of a gate and another value. Returns the number
// of ops added. Before fusion.
int rotate_ffn_input(ir::Graph& graph);

// RO in front of each linear that takes what attention gives. The same.
int rotate_attn_input(ir::Graph& graph);

}  // namespace cria
