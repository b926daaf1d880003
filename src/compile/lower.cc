#include "compile/lower.h"

#include "compile/fuse_gate_up.h"
#include "compile/fuse_qkv.h"
#include "compile/fuse_residual.h"
#include "compile/fuse_rms_norm.h"
#include "compile/remove_dead.h"
#include "ir/text.h"
#include "ir/verify.h"

namespace cria {
namespace {

// The passes, in order. The fusions look at different patterns and could run in any order;
// remove_dead takes away what they leave behind.
constexpr Pass kPasses[] = {
    {"fuse_rms_norm", fuse_rms_norm}, {"fuse_qkv", fuse_qkv},       {"fuse_gate_up", fuse_gate_up},
    {"fuse_residual", fuse_residual}, {"remove_dead", remove_dead},
};

Status run_pass(const Pass& pass, ir::Graph& graph, const LowerTrace& trace) {
  pass.run(graph);
  if (const Status status = ir::verify(graph); !status.ok()) {
    return internal_error("after pass {}: {}", pass.name, status.message());
  }
  if (trace) trace(pass.name, ir::print_graph(graph));
  return Status();
}

}  // namespace

Status lower(ir::Graph& graph, const LowerTrace& trace, std::span<const Pass> first) {
  if (trace) trace("model", ir::print_graph(graph));
  for (const Pass& pass : first) CRIA_RETURN_IF_ERROR(run_pass(pass, graph, trace));
  for (const Pass& pass : kPasses) CRIA_RETURN_IF_ERROR(run_pass(pass, graph, trace));
  return Status();
}

}  // namespace cria
