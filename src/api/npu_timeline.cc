// Calls of a program for an NPU on one clock, and their trace.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "api/call_clock.h"
#include "api/method_parts.h"
#include "api/npu_model.h"
#include "cria/timeline.h"
#include "delegates/cpu/cpu_delegate.h"
#include "delegates/sim_npu/sim_npu_delegate.h"
#include "format/npu_profile/npu_profile.h"
#include "format/plan/plan_cost.h"
#include "format/pte/pte_program.h"
#include "model/resolve.h"
#include "npu_plan/estimate.h"
#include "runtime/program.h"

namespace cria {
namespace {

using Json = nlohmann::ordered_json;

// Where an event is drawn: a process of the trace and one of its threads.
struct Track {
  int process = 0, thread = 0;
};
constexpr Track kCalls{1, 1}, kOps{1, 2}, kSubmissions{1, 3};
constexpr Track kParts{2, 1};
constexpr Track engine_track(NpuEngine engine) { return {2, 2 + static_cast<int>(engine)}; }

class TraceWriter {
 public:
  void name_process(Track track, const std::string& text) { name("process_name", track, text); }
  void name_thread(Track track, const std::string& text) { name("thread_name", track, text); }

  void slice(Track track, std::string text, Picoseconds start, Picoseconds end, Json args) {
    events_.push_back({{"name", std::move(text)},
                       {"ph", "X"},
                       {"pid", track.process},
                       {"tid", track.thread},
                       {"ts", micro(start)},
                       {"dur", micro(end - start)},
                       {"args", std::move(args)}});
  }

  // From the slice that holds `from` to the one that starts at `to`.
  void arrow(Track source, Picoseconds from, Track target, Picoseconds to) {
    const std::int64_t id = ++n_arrows_;
    const auto event = [&](const char* phase, Track track, Picoseconds at) -> Json {
      return {
          {"name", "dependency"}, {"cat", "dependency"}, {"ph", phase},    {"bp", "e"}, {"id", id},
          {"pid", track.process}, {"tid", track.thread}, {"ts", micro(at)}};
    };
    events_.push_back(event("s", source, from));
    events_.push_back(event("f", target, to));
  }

  std::string text(Json other) {
    const Json json = {{"displayTimeUnit", "ms"},
                       {"otherData", std::move(other)},
                       {"traceEvents", std::move(events_)}};
    return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  }

 private:
  static double micro(Picoseconds ps) { return static_cast<double>(ps) * 1e-6; }
  void name(const char* what, Track track, const std::string& text) {
    events_.push_back({{"name", what},
                       {"ph", "M"},
                       {"pid", track.process},
                       {"tid", track.thread},
                       {"args", {{"name", text}}}});
  }

  std::vector<Json> events_;
  std::int64_t n_arrows_ = 0;
};

class TimelineBuilder {
 public:
  TimelineBuilder(const Program& program, std::span<const double> measured)
      : program_(program), measured_(measured) {}

  Status open(const std::string& power_profile) {
    for (const char* method : {"prefill", "decode"}) {
      if (!program_.has_method(method)) continue;
      CRIA_ASSIGN_OR_RETURN(methods_[method], read_method_parts(program_, method));
      for (const MethodPart& part : methods_[method].parts) {
        if (!part.on_npu || !profile_.name.empty()) continue;
        CRIA_ASSIGN_OR_RETURN(
            profile_, parse_npu_profile(part.commands.profile_text, part.commands.profile_name));
      }
    }
    if (profile_.name.empty()) return unsupported("{}: compiled for no NPU", program_.path());
    CRIA_ASSIGN_OR_RETURN(const NpuPowerProfile power, npu_power_profile(profile_, power_profile));
    sim_.clock_state = power.clock_state;
    sim_.batch = power.batch;
    sim_.timeline = true;
    return {};
  }

  Status add(const TimelineStep& step) {
    const char* const name =
        step.n_tokens == 1 || !methods_.contains("prefill") ? "decode" : "prefill";
    const auto found = methods_.find(name);
    if (found == methods_.end()) return invalid_argument("the program has no method {}", name);
    const MethodParts& method = found->second;
    if (step.n_tokens < 1 || step.n_tokens > method.max_tokens || step.position < 0) {
      return invalid_argument("{} tokens at position {}, {} takes 1 to {}", step.n_tokens,
                              step.position, name, method.max_tokens);
    }
    std::vector<TimedPart> timed;
    for (const MethodPart& part : method.parts) {
      CRIA_ASSIGN_OR_RETURN(timed.emplace_back(),
                            part.on_npu ? time_npu(part, step) : time_cpu(part, step));
      timed.back().queued.after = part.after;
    }
    TimelineStepTimes& told = timeline_.steps.emplace_back();
    told = {name, step.n_tokens, step.position};
    draw(method, timed, time_parts(timed, profile_, sim_), told);
    return {};
  }

  Result<Timeline> finish() {
    if (n_measured_ != measured_.size())
      return invalid_argument("{} measured ops, the processor runs {}", measured_.size(),
                              n_measured_);
    const char* const ops = measured_.empty() ? "estimated" : "measured";
    trace_.name_process(kCalls, fmt::format("processor (ops {}, submissions simulated)", ops));
    trace_.name_thread(kCalls, "calls");
    trace_.name_thread(kOps, fmt::format("ops ({})", ops));
    trace_.name_thread(kSubmissions, "submissions (simulated)");
    trace_.name_process(kParts, fmt::format("NPU {} (simulated)", profile_.name));
    trace_.name_thread(kParts, "submitted work");
    for (int engine = 0; engine < kNpuEngines; ++engine) {
      const auto e = static_cast<NpuEngine>(engine);
      trace_.name_thread(engine_track(e), npu_engine_name(e));
    }
    timeline_.trace = trace_.text({{"device", "sim:" + profile_.name},
                                   {"npu", "simulated"},
                                   {"submissions", "simulated"},
                                   {"processor_ops", ops}});
    return std::move(timeline_);
  }

 private:
  Result<TimedPart> time_npu(const MethodPart& part, const TimelineStep& step) const {
    const std::int64_t most = part.commands.max_context;
    if (most > 0 && step.position > most - step.n_tokens) {
      return invalid_argument("{} tokens at position {}, compiled for a context of {}",
                              step.n_tokens, step.position, most);
    }
    return time_npu_part(part.commands, profile_, {step.n_tokens, step.position}, sim_);
  }

  Result<TimedPart> time_cpu(const MethodPart& part, const TimelineStep& step) {
    std::vector<double> seconds;
    for (const PlanOp& op : part.plan.ops) {
      if (measured_.empty()) {
        seconds.push_back(
            estimate_cpu_op(profile_, part.plan, op, {step.n_tokens, step.position}).seconds);
      } else if (n_measured_ < measured_.size()) {
        seconds.push_back(measured_[n_measured_++]);
      } else {
        return invalid_argument("{} measured ops, the processor runs more", measured_.size());
      }
    }
    return time_cpu_part(part.plan, profile_, {step.n_tokens, step.position}, seconds);
  }

  void draw(const MethodParts& method, const std::vector<TimedPart>& timed, const CallTimes& all,
            TimelineStepTimes& told) {
    const QueueTimes& times = all.queue;
    const Picoseconds end = now_ + all.elapsed_ps;
    for (std::size_t i = 0; i < timed.size(); ++i) {
      const MethodPart& part = method.parts[i];
      part.on_npu ? draw_npu(part, timed[i], times.parts[i])
                  : draw_cpu(part, timed[i], times.parts[i]);
      for (const std::size_t before : part.after) {
        if (method.parts[before].on_npu == part.on_npu) continue;
        trace_.arrow(part.on_npu ? kOps : kParts, now_ + times.parts[before].end_ps - 1,
                     part.on_npu ? kParts : kOps, now_ + times.parts[i].start_ps);
      }
      (part.on_npu ? told.npu_seconds : told.cpu_seconds) += to_seconds(timed[i].queued.run_ps);
    }
    if (all.choose_ps > 0) {
      trace_.slice(kSubmissions, "choose a token", end - all.choose_ps, end,
                   {{"time", "simulated"}});
    }
    trace_.slice(kCalls, fmt::format("{} of {}", told.method, told.n_tokens), now_, end,
                 {{"position", told.position}});
    told.both_seconds = to_seconds(times.both_ps);
    told.seconds = to_seconds(end - now_);
    now_ = end;
  }

  void draw_cpu(const MethodPart& part, const TimedPart& timed, const PartTimes& times) {
    Picoseconds start = 0;
    for (std::size_t i = 0; i < part.plan.ops.size(); ++i) {
      const PlanOp& op = part.plan.ops[i];
      const Picoseconds origin = now_ + times.start_ps;
      trace_.slice(kOps, fmt::format("{} {}", plan_op_name(op.kind), plan_op_label(part.plan, op)),
                   origin + start, origin + timed.op_ends[i],
                   {{"time", measured_.empty() ? "estimated" : "measured"}});
      start = timed.op_ends[i];
    }
  }

  void draw_npu(const MethodPart& part, const TimedPart& timed, const PartTimes& times) {
    const NpuCommands& all = part.commands;
    const NpuOp& first = all.ops.front();
    const NpuOp& last = all.ops.back();
    trace_.slice(kSubmissions, "submit", now_ + times.submit_ps,
                 now_ + times.submit_ps + timed.queued.n_submissions * timed.npu.submit_ps,
                 {{"submissions", timed.queued.n_submissions}, {"time", "simulated"}});
    trace_.slice(kParts,
                 fmt::format("{} {} .. {} {}", first.kind, first.name, last.kind, last.name),
                 now_ + times.start_ps, now_ + times.end_ps, {{"time", "simulated"}});
    // The part's own clock starts with its submission.
    const Picoseconds origin = now_ + times.start_ps - timed.npu.submit_ps;
    for (const NpuEvent& event : timed.npu.timeline) {
      const NpuCommand& command = all.commands[event.command];
      trace_.slice(engine_track(command.engine), npu_command_name(command.kind),
                   origin + event.start_ps, origin + event.end_ps,
                   {{"op", all.ops[command.op].kind},
                    {"name", all.ops[command.op].name},
                    {"command", event.command}});
    }
  }

  const Program& program_;
  std::span<const double> measured_;
  std::size_t n_measured_ = 0;
  std::map<std::string, MethodParts> methods_;
  NpuProfile profile_;
  NpuSimOptions sim_;
  TraceWriter trace_;
  Timeline timeline_;
  Picoseconds now_ = 0;
};

}  // namespace

Result<Timeline> npu_timeline(const std::string& pte_path, std::span<const TimelineStep> steps,
                              std::span<const double> cpu_op_seconds,
                              const std::string& power_profile) {
  CRIA_ASSIGN_OR_RETURN(const std::string path, resolve_model(pte_path));
  CRIA_ASSIGN_OR_RETURN(const std::shared_ptr<const Program> program, Program::load(path));
  TimelineBuilder builder(*program, cpu_op_seconds);
  CRIA_RETURN_IF_ERROR(builder.open(power_profile));
  for (const TimelineStep& step : steps) CRIA_RETURN_IF_ERROR(builder.add(step));
  return builder.finish();
}

bool is_shared_with_npu(const std::string& pte_path) {
  const Result<std::string> path = resolve_model(pte_path);
  if (!path.ok()) return false;
  const Result<std::shared_ptr<const Program>> program = Program::load(*path);
  if (!program.ok()) return false;
  const Result<const pte::ExecutionPlan*> plan = (*program)->plan("decode");
  if (!plan.ok()) return false;
  bool npu = false, cpu = false;
  for (const pte::BackendDelegate& delegate : (*plan)->delegates) {
    npu = npu || delegate.id == sim_npu_delegate()->name;
    cpu = cpu || delegate.id == cpu_delegate()->name;
  }
  return npu && cpu;  // further ones are an error where it is read
}

}  // namespace cria
