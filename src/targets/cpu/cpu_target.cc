#include "targets/cpu/cpu_target.h"

#include "format/plan/plan.h"
#include "targets/lower_to_plan.h"

namespace cria {
namespace {

using ir::OpKind;

class CpuTarget final : public Target {
 public:
  const char* name() const override { return "cpu"; }

  TargetLimits limits() const override {
    return {.max_tokens = 4096, .scratch_bytes = std::uint64_t{1} << 32};
  }

  Support supports(const ir::Graph& graph, const ir::Op& op) const override {
    if (op.kind == OpKind::kRmsNormalize) return {false, "only as a part of rms_norm"};
    if (op.kind == OpKind::kMul && !op.weights.empty())
      return {false, "only as a part of rms_norm"};
    const bool has_heads = op.attributes.head_dim != 0;
    if (has_heads && op.attributes.head_dim % 2 != 0) return {false, "odd head_dim"};
    if (has_heads && graph.type(op.inputs[0]).shape[0] != ir::kTokens) {
      return {false, "heads of a single row"};
    }
    return {true, ""};
  }

  Support supports(Encoding) const override { return {true, ""}; }
  bool takes_sparse() const override { return true; }

  Result<CompiledMethod> compile(const ir::Graph& graph,
                                 const MethodRequest& request) const override {
    CRIA_RETURN_IF_ERROR(check(graph, request));
    CRIA_ASSIGN_OR_RETURN(const Plan plan, lower_to_plan(graph, request));
    if (plan.scratch_bytes > limits().scratch_bytes) {
      return unsupported("cpu: method {} needs {} bytes of scratch, at most {} are supported",
                         graph.name, plan.scratch_bytes, limits().scratch_bytes);
    }
    CompiledMethod method;
    method.delegate_id = kCpuDelegateId;
    method.blob = encode_plan(plan);
    method.compile_specs = {{"act", request.activations}};
    method.scratch_bytes = plan.scratch_bytes;
    method.cache = {plan.kv.bytes_per_position(), plan.kv.granularity()};
    method.n_vocab = plan.n_vocab;
    for (const PlanWeight& weight : plan.weights) {
      method.weights.push_back(
          {weight.key, weight.key, weight.encoding, weight.packed, weight.n_rows, weight.n_cols});
    }
    return method;
  }

 private:
  Status check(const ir::Graph& graph, const MethodRequest& request) const {
    if (request.max_tokens < 1 || request.max_tokens > limits().max_tokens) {
      return unsupported("cpu: method {} with {} tokens a call, expected 1 to {}", graph.name,
                         request.max_tokens, limits().max_tokens);
    }
    const bool takes_call =
        graph.inputs.size() == 2 &&
        graph.type(graph.inputs[0]) == ir::Type{ir::DType::kI64, {ir::kTokens}} &&
        graph.type(graph.inputs[1]) == ir::Type{ir::DType::kI64, {1}};
    if (!takes_call) {
      return unsupported("cpu: method {} must take tokens i64[S] and position i64[1]", graph.name);
    }
    for (const ir::Op& op : graph.ops) {
      if (const Support support = supports(graph, op); !support.supported) {
        return unsupported("cpu: {} of method {}: {}", ir::op_spec(op.kind).name, graph.name,
                           support.reason);
      }
    }
    return Status();
  }
};

}  // namespace

const Target& cpu_target() {
  static const CpuTarget target;
  return target;
}

}  // namespace cria
