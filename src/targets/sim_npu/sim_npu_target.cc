#include "targets/sim_npu/sim_npu_target.h"

#include <algorithm>
#include <iterator>
#include <set>

#include "targets/lower_to_plan.h"
#include "targets/sim_npu/lower_to_npu.h"
#include "targets/split_plan.h"

namespace cria {
namespace {

constexpr std::int64_t kMostHeadDim = 256;  // that the delegate's attention takes

class SimNpuTarget final : public Target {
 public:
  SimNpuTarget(NpuProfileFile profile, NpuSharing sharing)
      : file_(std::move(profile)), sharing_(std::move(sharing)) {}

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
    MethodRequest wanted = request;
    wanted.split_attention = sharing_.split_attention;
    CRIA_ASSIGN_OR_RETURN(const Plan plan, lower_to_plan(graph, wanted));
    std::vector<bool> on_npu(plan.ops.size(), true);
    if (sharing_.on_npu) {
      CRIA_ASSIGN_OR_RETURN(on_npu, sharing_.on_npu(plan));
    }
    CompiledMethod method;
    method.scratch_bytes = kNpuAlignment;
    method.cache = {plan.kv.bytes_per_position(), plan.kv.granularity()};
    method.n_vocab = plan.n_vocab;
    std::vector<CompiledPart> parts;
    std::vector<PlanPart> plans = split_plan(plan, on_npu);
    own_weights(plans);
    for (const PlanPart& part : plans) {
      Result<CompiledPart> compiled =
          part.on_npu ? npu_part(part, request, method) : cpu_part(part, request, method);
      if (!compiled.ok()) {
        return std::move(compiled).status().with_context(
            fmt::format("{}: method {}", file_.profile.name, graph.name));
      }
      parts.push_back(std::move(*compiled));
      parts.back().after = part.after;
    }
    method.delegate_id = parts[0].delegate_id;
    method.blob = std::move(parts[0].blob);
    method.compile_specs = std::move(parts[0].compile_specs);
    method.then.assign(std::make_move_iterator(parts.begin() + 1),
                       std::make_move_iterator(parts.end()));
    return method;
  }

 private:
  static constexpr std::string_view kOwn = ".npu";  // of the keys of the device's own copies

  // What both multiply with is under another name in the device's order.
  static void own_weights(std::vector<PlanPart>& parts) {
    std::set<std::string> of_cpu;
    for (const PlanPart& part : parts) {
      if (part.on_npu) continue;
      for (const PlanWeight& w : part.plan.weights) {
        if (w.packed) of_cpu.insert(w.key);
      }
    }
    for (PlanPart& part : parts) {
      if (!part.on_npu) continue;
      for (PlanWeight& w : part.plan.weights) {
        if (of_cpu.contains(w.key)) w.key += kOwn;
      }
    }
  }

  static void add_weight(TargetWeight weight, CompiledMethod& method) {
    if (weight.name.ends_with(kOwn)) weight.name.resize(weight.name.size() - kOwn.size());
    const auto known = std::ranges::find(method.weights, weight.key, &TargetWeight::key);
    if (known == method.weights.end()) method.weights.push_back(std::move(weight));
  }

  Result<CompiledPart> npu_part(const PlanPart& part, const MethodRequest& request,
                                CompiledMethod& method) const {
    NpuLoweringOptions options;
    options.a8 = request.activations == "a8";
    options.max_context = request.max_context;
    options.exported = part.exports;
    CRIA_ASSIGN_OR_RETURN(NpuCommands commands, lower_to_npu(part.plan, file_.profile, options));
    commands.profile_text = file_.text;
    method.scratch_bytes = std::max(method.scratch_bytes, commands.scratch_bytes);
    for (const NpuWeight& w : commands.weights)
      add_weight({w.key, w.key, w.encoding, w.packed, w.n_rows, w.n_cols, w.tiles}, method);
    return CompiledPart{kSimNpuDelegateId,
                        encode_npu_commands(commands),
                        {{"act", request.activations}, {"device", file_.profile.name}},
                        {}};
  }

  Result<CompiledPart> cpu_part(const PlanPart& part, const MethodRequest& request,
                                CompiledMethod& method) const {
    if (const Status status = verify_plan(part.plan); !status.ok())
      return internal_error("a part's plan is malformed: {}", status.message());
    method.scratch_bytes = std::max(method.scratch_bytes, part.plan.scratch_bytes);
    for (const PlanWeight& w : part.plan.weights)
      add_weight({w.key, w.key, w.encoding, w.packed, w.n_rows, w.n_cols, {}}, method);
    return CompiledPart{
        sharing_.cpu_delegate_id, encode_plan(part.plan), {{"act", request.activations}}, {}};
  }

  NpuProfileFile file_;
  NpuSharing sharing_;
};

}  // namespace

std::unique_ptr<Target> sim_npu_target(NpuProfileFile profile, NpuSharing sharing) {
  return std::make_unique<SimNpuTarget>(std::move(profile), std::move(sharing));
}

}  // namespace cria
