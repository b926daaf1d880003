#include "targets/sim_npu/sim_npu_target.h"

#include <algorithm>

#include "targets/lower_to_plan.h"
#include "targets/sim_npu/lower_to_npu.h"

namespace cria {
namespace {

constexpr std::int64_t kMostHeadDim = 256;  // that the delegate's attention takes

class SimNpuTarget final : public Target {
 public:
  explicit SimNpuTarget(NpuProfileFile profile) : file_(std::move(profile)) {}

  const char* name() const override { return "sim_npu"; }

  TargetLimits limits() const override {
    return {.max_tokens = 4096, .scratch_bytes = std::uint64_t{1} << 32};
  }

  Support supports(const ir::Graph& graph, const ir::Op& op) const override {
    if (op.attributes.head_dim > kMostHeadDim) return {false, "heads wider than 256"};
    return plan_supports(graph, op);
  }

  Support supports(Encoding encoding) const override {
    const Status status = check_groups(file_.profile, encoding);
    return {status.ok(), status.message()};
  }

  Result<CompiledMethod> compile(const ir::Graph& graph,
                                 const MethodRequest& request) const override {
    CRIA_RETURN_IF_ERROR(check_method(*this, graph, request));
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
  NpuProfileFile file_;
};

}  // namespace

std::unique_ptr<Target> sim_npu_target(NpuProfileFile profile) {
  return std::make_unique<SimNpuTarget>(std::move(profile));
}

}  // namespace cria
