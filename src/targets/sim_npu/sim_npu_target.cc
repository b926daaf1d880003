#include "targets/sim_npu/sim_npu_target.h"

#include <algorithm>

#include "targets/lower_to_plan.h"
#include "targets/sim_npu/lower_to_npu.h"

namespace cria {
namespace {

using ir::OpKind;

class SimNpuTarget final : public Target {
 public:
  explicit SimNpuTarget(NpuProfileFile profile) : file_(std::move(profile)) {}

  const char* name() const override { return "sim_npu"; }

  TargetLimits limits() const override {
    return {.max_tokens = 4096, .scratch_bytes = std::uint64_t{1} << 32};
  }

  Support supports(const ir::Graph& graph, const ir::Op& op) const override {
    if (op.kind == OpKind::kRmsNormalize) return {false, "only as a part of rms_norm"};
    if (op.kind == OpKind::kMul && !op.weights.empty())
      return {false, "only as a part of rms_norm"};
    const bool has_heads = op.attributes.head_dim != 0;
    if (has_heads && op.attributes.head_dim % 2 != 0) return {false, "odd head_dim"};
    if (has_heads && op.attributes.head_dim > 256) return {false, "heads wider than 256"};
    if (has_heads && graph.type(op.inputs[0]).shape[0] != ir::kTokens)
      return {false, "heads of a single row"};
    return {true, ""};
  }

  Support supports(Encoding encoding) const override {
    const Status status = check_groups(file_.profile, encoding);
    return {status.ok(), status.message()};
  }

  Result<CompiledMethod> compile(const ir::Graph& graph,
                                 const MethodRequest& request) const override {
    CRIA_RETURN_IF_ERROR(check(graph, request));
    CRIA_ASSIGN_OR_RETURN(const Plan plan, lower_to_plan(graph, request));
    NpuLoweringOptions options;
    options.a8 = request.activations == "a8";
    options.max_context = request.max_context;
    Result<NpuCommands> commands = lower_to_npu(plan, file_.profile, options);
    if (!commands.ok()) {
      return std::move(commands).status().with_context(
          fmt::format("{}: method {}", file_.profile.name, graph.name));
    }
    commands->profile_text = file_.text;
    CompiledMethod method;
    method.delegate_id = kSimNpuDelegateId;
    method.blob = encode_npu_commands(*commands);
    method.compile_specs = {{"act", request.activations}, {"device", file_.profile.name}};
    method.scratch_bytes = std::max<std::uint64_t>(commands->scratch_bytes, kNpuAlignment);
    method.cache = {plan.kv.bytes_per_position(), plan.kv.granularity()};
    method.n_vocab = plan.n_vocab;
    for (const NpuWeight& w : commands->weights) {
      method.weights.push_back({w.key, w.key, w.encoding, w.packed, w.n_rows, w.n_cols, w.tiles});
    }
    return method;
  }

 private:
  Status check(const ir::Graph& graph, const MethodRequest& request) const {
    if (request.max_tokens < 1 || request.max_tokens > limits().max_tokens) {
      return unsupported("sim_npu: method {} with {} tokens a call, expected 1 to {}", graph.name,
                         request.max_tokens, limits().max_tokens);
    }
    const bool takes_call =
        graph.inputs.size() == 2 &&
        graph.type(graph.inputs[0]) == ir::Type{ir::DType::kI64, {ir::kTokens}} &&
        graph.type(graph.inputs[1]) == ir::Type{ir::DType::kI64, {1}};
    if (!takes_call) {
      return unsupported("sim_npu: method {} must take tokens i64[S] and position i64[1]",
                         graph.name);
    }
    for (const ir::Op& op : graph.ops) {
      if (const Support support = supports(graph, op); !support.supported) {
        return unsupported("sim_npu: {} of method {}: {}", ir::op_spec(op.kind).name, graph.name,
                           support.reason);
      }
    }
    return Status();
  }

  NpuProfileFile file_;
};

}  // namespace

std::unique_ptr<Target> sim_npu_target(NpuProfileFile profile) {
  return std::make_unique<SimNpuTarget>(std::move(profile));
}

}  // namespace cria
