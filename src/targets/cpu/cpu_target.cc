#include "targets/cpu/cpu_target.h"

#include "format/plan/plan.h"
#include "targets/lower_to_plan.h"

namespace cria {
namespace {

class CpuTarget final : public Target {
 public:
  const char* name() const override { return "cpu"; }

  TargetLimits limits() const override {
    return {.max_tokens = 4096, .scratch_bytes = std::uint64_t{1} << 32};
  }

  Support supports(const ir::Graph& graph, const ir::Op& op) const override {
    return plan_supports(graph, op);
  }

  Support supports(Encoding) const override { return {true, ""}; }
  bool takes_sparse() const override { return true; }

  Result<CompiledMethod> compile(const ir::Graph& graph,
                                 const MethodRequest& request) const override {
    CRIA_RETURN_IF_ERROR(check_method(*this, graph, request));
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
};

}  // namespace

const Target& cpu_target() {
  static const CpuTarget target;
  return target;
}

}  // namespace cria
