#include "profile_shared.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace cria::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kProcessor = "CriaCpuBackend";

// Steps of one kind, added up.
struct Sum {
  std::string method;
  std::int64_t n_steps = 0, n_tokens = 0;
  double seconds = 0, npu = 0, cpu = 0, both = 0;
};

std::vector<Sum> sums_of(const Timeline& timeline) {
  std::vector<Sum> sums;
  for (const TimelineStepTimes& step : timeline.steps) {
    auto found = std::ranges::find(sums, step.method, &Sum::method);
    if (found == sums.end()) found = sums.insert(sums.end(), {step.method});
    ++found->n_steps;
    found->n_tokens += step.n_tokens;
    found->seconds += step.seconds;
    found->npu += step.npu_seconds;
    found->cpu += step.cpu_seconds;
    found->both += step.both_seconds;
  }
  return sums;
}

}  // namespace

Result<Timeline> timeline_of(const Profile& profile, const std::string& power_profile) {
  std::vector<TimelineStep> steps;
  std::vector<double> cpu_op_seconds;
  for (const ProfilePhase& phase : profile.phases) {
    std::int64_t position = phase.n_depth;
    for (const ForwardSample& forward : phase.forwards) {
      // As a forward call is cut into steps.
      for (std::int64_t done = 0; done < forward.n_tokens;) {
        const std::int64_t n_batch = profile.model.n_batch;
        const std::int64_t n = std::min(
            {profile.model.prefill_chunk, forward.n_tokens - done, n_batch - done % n_batch});
        steps.push_back({n, position});
        position += n;
        done += n;
      }
      for (std::size_t i = forward.first_op; i < forward.end_op; ++i) {
        const OpSample& op = profile.ops[i];
        if (*op.delegate == kProcessor)
          cpu_op_seconds.push_back(1e-9 * static_cast<double>(op.end_ns - op.start_ns));
      }
    }
  }
  return npu_timeline(profile.model_path, steps, cpu_op_seconds, power_profile);
}

std::string shared_profile_text(const Profile& profile, const Timeline& timeline) {
  std::string text = fmt::format(
      "{} on {} and the processor beside it, activations {}; one clock: the NPU and the handing "
      "over simulated, ops of the processor {}\n\n",
      profile.model.description, profile.model.device, profile.model.activations,
      profile.ops.empty() ? "as the profile of the device estimates them"
                          : fmt::format("as measured here with {} threads", profile.n_threads));
  text +=
      fmt::format("| {:<8} | {:>5} | {:>12} | {:>12} | {:>12} | {:>12} | {:>10} |\n", "steps of",
                  "steps", "ms a step", "NPU ms", "processor ms", "both ms", "tokens/s");
  text +=
      fmt::format("| {:-<8} | {:->4}: | {:->11}: | {:->11}: | {:->11}: | {:->11}: | {:->9}: |\n",
                  "", "", "", "", "", "", "");
  for (const Sum& sum : sums_of(timeline)) {
    const double per_step = 1e3 / static_cast<double>(sum.n_steps);
    text += fmt::format(
        "| {:<8} | {:>5} | {:>12.3f} | {:>12.3f} | {:>12.3f} | {:>12.3f} | {:>10.2f} |\n",
        sum.method, sum.n_steps, sum.seconds * per_step, sum.npu * per_step, sum.cpu * per_step,
        sum.both * per_step, static_cast<double>(sum.n_tokens) / sum.seconds);
  }
  return text;
}

std::string shared_profile_json(const Profile& profile, const Timeline& timeline) {
  Json phases = Json::array();
  for (const Sum& sum : sums_of(timeline)) {
    phases.push_back({{"phase", sum.method},
                      {"n_steps", sum.n_steps},
                      {"n_tokens", sum.n_tokens},
                      {"seconds", sum.seconds},
                      {"npu_seconds", sum.npu},
                      {"processor_seconds", sum.cpu},
                      {"both_seconds", sum.both}});
  }
  const Json json = {{"model", profile.model_path},
                     {"device", profile.model.device},
                     {"npu", "simulated"},
                     {"handing_over", "simulated"},
                     {"processor", profile.ops.empty() ? "estimated" : "measured"},
                     {"n_threads", profile.n_threads},
                     {"phases", std::move(phases)}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace cria::cli
