#include "cria/npu_profile.h"

#include <algorithm>

#include "api/inspect.h"
#include "api/method_parts.h"
#include "api/npu_changes.h"
#include "api/program_device.h"
#include "model/resolve.h"
#include "runtime/program.h"

namespace cria {
namespace {

double to_us(Picoseconds ps) { return static_cast<double>(ps) * 1e-6; }

// What is timed: the commands of both methods, and where they come from.
struct Subject {
  std::string description;
  NpuProfile profile;
  NpuSimOptions sim;
  NpuCalls calls;
  NpuCommands prefill, decode;
};

Result<NpuCommands> commands_of_method(const Program& program, const char* name) {
  CRIA_ASSIGN_OR_RETURN(MethodParts method, read_method_parts(program, name));
  if (method.parts.size() != 1 || !method.parts[0].on_npu) {
    return unsupported("{}: method {} has {} delegates; what runs on one NPU alone is profiled",
                       program.path(), name, method.parts.size());
  }
  return std::move(method.parts[0].commands);
}

Result<Subject> subject_of_program(const Program& program, const NpuModelOptions& options) {
  CRIA_RETURN_IF_ERROR(check_device(program, options.device));
  Subject subject;
  subject.description = program.path();
  CRIA_ASSIGN_OR_RETURN(subject.prefill, commands_of_method(program, "prefill"));
  CRIA_ASSIGN_OR_RETURN(subject.decode, commands_of_method(program, "decode"));
  CRIA_ASSIGN_OR_RETURN(subject.profile,
                        parse_npu_profile(subject.decode.profile_text, program.path()));
  CRIA_ASSIGN_OR_RETURN(subject.sim, npu_sim_options(subject.profile, options));
  subject.calls = npu_calls(options, subject.prefill.max_tokens);
  return subject;
}

Result<Subject> subject_of_model(const NpuModel& model) {
  Subject subject{model.plans.description, model.profile, model.sim, model.calls, {}, {}};
  CRIA_ASSIGN_OR_RETURN(subject.prefill,
                        lower_to_npu(model.plans.prefill, model.profile, model.lowering));
  CRIA_ASSIGN_OR_RETURN(subject.decode,
                        lower_to_npu(model.plans.decode, model.profile, model.lowering));
  return subject;
}

// Ops added up, in picoseconds.
struct Sum {
  NpuWork work;
  Picoseconds elapsed = 0, idle = 0;
  int n_ops = 0;

  void add(const NpuOpTime& op) {
    work.add(op.work);
    elapsed += op.elapsed_ps;
    idle += op.idle_ps;
    ++n_ops;
  }

  NpuProfilePart part(std::string kind, std::string name, int layer) const {
    const auto busy = [&](NpuEngine engine) {
      return to_us(work.busy_ps[static_cast<std::size_t>(engine)]);
    };
    NpuProfilePart part;
    part.kind = std::move(kind);
    part.name = std::move(name);
    part.layer = layer;
    part.n_ops = n_ops;
    part.us = to_us(elapsed);
    part.dma_us = std::max(busy(NpuEngine::kWeightDma), busy(NpuEngine::kDataDma));
    part.matrix_us = busy(NpuEngine::kMatrix);
    part.vector_us = busy(NpuEngine::kVector);
    part.host_us = to_us(idle);
    part.bound = npu_bound_name(npu_bound(work, elapsed, idle));
    part.weight_bytes = static_cast<double>(work.bytes.weights);
    part.kv_bytes = static_cast<double>(work.bytes.cache);
    part.activation_bytes = static_cast<double>(work.bytes.activations);
    part.macs = static_cast<double>(work.macs);
    part.millijoules = 1e3 * work.joules.total();
    return part;
  }
};

// "blk.3.attn_output.weight" of layer 3 -> "attn_output".
std::string role(std::string name, int layer) {
  const std::string in_layer = fmt::format(".{}.", layer);
  if (const std::size_t at = name.find(in_layer); layer >= 0 && at != std::string::npos)
    name.erase(0, at + in_layer.size());
  constexpr std::string_view kSuffix = ".weight";
  if (name.ends_with(kSuffix)) name.resize(name.size() - kSuffix.size());
  return name;
}

void add_parts(const NpuCommands& commands, const NpuTiming& timing, NpuProfilePhase& phase) {
  struct Group {
    std::string kind, name;
    Sum sum;
  };
  std::vector<Group> groups;
  std::vector<std::pair<int, Sum>> layers;
  for (const NpuOpTime& time : timing.ops) {
    const NpuOp& op = commands.ops[time.op];
    Sum one;
    one.add(time);
    phase.ops.push_back(one.part(op.kind, op.name, op.layer));
    const std::string name = role(op.name, op.layer);
    auto group = std::ranges::find_if(
        groups, [&](const Group& g) { return g.kind == op.kind && g.name == name; });
    if (group == groups.end()) group = groups.insert(group, {op.kind, name, {}});
    group->sum.add(time);
    auto layer = std::ranges::find(layers, op.layer, &std::pair<int, Sum>::first);
    if (layer == layers.end()) layer = layers.insert(layer, {op.layer, {}});
    layer->second.add(time);
  }
  std::ranges::sort(layers, {}, &std::pair<int, Sum>::first);
  for (const Group& group : groups)
    phase.by_op.push_back(group.sum.part(group.kind, group.name, -1));
  for (const auto& [layer, sum] : layers) phase.by_layer.push_back(sum.part("", "", layer));
}

void add_events(const NpuCommands& commands, const NpuTiming& timing, NpuProfilePhase& phase) {
  for (const NpuEvent& event : timing.timeline) {
    const NpuCommand& command = commands.commands[event.command];
    const NpuOp& op = commands.ops[command.op];
    phase.events.push_back(
        {npu_engine_name(command.engine),
         fmt::format("{} {} {}", npu_command_name(command.kind), op.kind, op.name),
         to_us(event.start_ps), to_us(event.end_ps)});
  }
}

Result<NpuProfilePhase> time_phase(const Subject& subject, const char* name,
                                   const NpuCommands& commands, const NpuCall& call) {
  if (commands.max_context > 0 && call.position + call.n_tokens > commands.max_context) {
    return invalid_argument("{} at position {}: {} was compiled for a context of {} tokens", name,
                            call.position, subject.description, commands.max_context);
  }
  CRIA_ASSIGN_OR_RETURN(const NpuTiming timing,
                        simulate_npu(commands, subject.profile, call, subject.sim));
  NpuProfilePhase phase;
  phase.name = name;
  phase.n_tokens = call.n_tokens;
  phase.position = call.position;
  phase.us = to_us(timing.elapsed_ps);
  phase.submit_us = to_us(timing.submit_ps);
  phase.complete_us = to_us(timing.complete_ps);
  phase.choose_us = to_us(timing.choose_ps);
  phase.millijoules = 1e3 * timing.work.joules.total();
  phase.bound = npu_bound_name(timing.bound);
  add_parts(commands, timing, phase);
  add_events(commands, timing, phase);
  return phase;
}

Result<NpuProfileReport> profile_subject(Subject subject, bool events) {
  subject.sim.timeline = events;
  NpuProfileReport report;
  report.model = subject.description;
  report.device = "sim:" + subject.profile.name;
  CRIA_ASSIGN_OR_RETURN(NpuProfilePhase prefill,
                        time_phase(subject, "prefill", subject.prefill, subject.calls.prefill));
  report.phases.push_back(std::move(prefill));
  CRIA_ASSIGN_OR_RETURN(NpuProfilePhase decode,
                        time_phase(subject, "decode", subject.decode, subject.calls.decode));
  report.phases.push_back(std::move(decode));
  return report;
}

}  // namespace

Result<NpuProfileReport> profile_on_npu(const NpuProfileOptions& options) {
  const Result<std::string> path = resolve_model(options.model.model);
  if (path.ok() && is_program_file(*path)) {
    CRIA_ASSIGN_OR_RETURN(const std::shared_ptr<const Program> program, Program::load(*path));
    if (program_device(*program).starts_with("sim:")) {
      CRIA_ASSIGN_OR_RETURN(Subject subject, subject_of_program(*program, options.model));
      return profile_subject(std::move(subject), options.events);
    }
  }
  CRIA_ASSIGN_OR_RETURN(const NpuModel model, open_npu_model(options.model));
  CRIA_ASSIGN_OR_RETURN(Subject subject, subject_of_model(model));
  CRIA_ASSIGN_OR_RETURN(NpuProfileReport report,
                        profile_subject(std::move(subject), options.events));
  if (options.changes) report.changes = try_npu_changes(model, options.model);
  return report;
}

}  // namespace cria
