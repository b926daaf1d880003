#include "profile_npu.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "terminal.h"

namespace cria::cli {
namespace {

using Json = nlohmann::ordered_json;

std::string part_line(const std::string& title, const NpuProfilePart& part, double whole_us) {
  const auto share = [&](double us) { return 100 * us / whole_us; };
  return fmt::format(
      "| {:<27} | {:>4} | {:>9.1f} | {:>5.1f} % | {:>9.1f} | {:>9.1f} | {:>9.1f} | {:>9.1f} | "
      "{:<7} |\n",
      title, part.n_ops, part.us, share(part.us), part.dma_us, part.matrix_us, part.vector_us,
      part.host_us, part.bound);
}

std::string table_head(const char* title) {
  return fmt::format(
      "| {:<27} | {:>4} | {:>9} | {:>7} | {:>9} | {:>9} | {:>9} | {:>9} | {:<7} |\n"
      "| {:-<27} | {:->3}: | {:->8}: | {:->6}: | {:->8}: | {:->8}: | {:->8}: | {:->8}: | {:-<7} "
      "|\n",
      title, "ops", "us", "share", "dma us", "matrix us", "vector us", "host us", "bound", "", "",
      "", "", "", "", "", "", "");
}

std::string host_line(const char* title, double us, double whole_us) {
  NpuProfilePart part;
  part.us = part.host_us = us;
  part.bound = "host";
  return part_line(title, part, whole_us);
}

std::string phase_text(const NpuProfilePhase& phase) {
  std::string text = fmt::format(
      "{}: {} at depth {}, {:.3f} ms, {:.2f} tokens/s, {:.1f} mJ a token; bound by: {}\n\n",
      phase.name, phase.n_tokens == 1 ? "1 token" : fmt::format("{} tokens", phase.n_tokens),
      phase.position, phase.us / 1e3, 1e6 * static_cast<double>(phase.n_tokens) / phase.us,
      phase.millijoules / static_cast<double>(phase.n_tokens), phase.bound);
  text += table_head("op");
  for (const NpuProfilePart& part : phase.by_op)
    text += part_line(part.kind + " " + part.name, part, phase.us);
  text += host_line("submission", phase.submit_us, phase.us);
  text += host_line("completion", phase.complete_us, phase.us);
  text += host_line("choice of a token", phase.choose_us, phase.us);
  text += "\n" + table_head("layer");
  for (const NpuProfilePart& part : phase.by_layer)
    text += part_line(part.layer < 0 ? "none" : fmt::to_string(part.layer), part, phase.us);
  return text + "\n";
}

std::string changes_text(const std::vector<NpuChange>& changes) {
  if (changes.empty()) return "";
  const NpuChange& base = changes.front();
  const auto percent = [](double value, double before) {
    return fmt::format("{:+.0f} %", 100 * (value / before - 1));
  };
  std::string text = fmt::format(
      "what a change would buy:\n\n| {:<28} | {:>13} | {:>7} | {:>12} | {:>7} | {:>8} | {:>10} |\n"
      "| {:-<28} | {:->12}: | {:->6}: | {:->11}: | {:->6}: | {:->7}: | {:->9}: |\n",
      "change", "prefill tok/s", "", "decode tok/s", "", "mJ/token", "weights", "", "", "", "", "",
      "", "");
  std::string refused;
  for (const NpuChange& change : changes) {
    if (!change.refused.empty()) {
      refused += fmt::format("{}: {}\n", change.change, change.refused);
      continue;
    }
    text += fmt::format("| {:<28} | {:>13.1f} | {:>7} | {:>12.2f} | {:>7} | {:>8.1f} | {:>10} |\n",
                        change.change.empty() ? "as it is" : change.change,
                        change.prefill_tokens_per_second,
                        percent(change.prefill_tokens_per_second, base.prefill_tokens_per_second),
                        change.decode_tokens_per_second,
                        percent(change.decode_tokens_per_second, base.decode_tokens_per_second),
                        1e3 * change.joules_per_token, bytes_text(change.weight_bytes));
  }
  return text + (refused.empty() ? "" : "\nnot on this device:\n" + refused);
}

Json part_json(const NpuProfilePart& part) {
  return {{"op", part.kind},
          {"name", part.name},
          {"layer", part.layer},
          {"n_ops", part.n_ops},
          {"us", part.us},
          {"dma_us", part.dma_us},
          {"matrix_us", part.matrix_us},
          {"vector_us", part.vector_us},
          {"host_us", part.host_us},
          {"bound", part.bound},
          {"weight_bytes", part.weight_bytes},
          {"kv_bytes", part.kv_bytes},
          {"activation_bytes", part.activation_bytes},
          {"macs", part.macs},
          {"millijoules", part.millijoules}};
}

Json parts_json(const std::vector<NpuProfilePart>& parts) {
  Json list = Json::array();
  for (const NpuProfilePart& part : parts) list.push_back(part_json(part));
  return list;
}

Json phase_json(const NpuProfilePhase& phase) {
  return {{"phase", phase.name},
          {"n_tokens", phase.n_tokens},
          {"n_depth", phase.position},
          {"us", phase.us},
          {"submit_us", phase.submit_us},
          {"complete_us", phase.complete_us},
          {"choose_us", phase.choose_us},
          {"millijoules", phase.millijoules},
          {"tokens_per_second", 1e6 * static_cast<double>(phase.n_tokens) / phase.us},
          {"bound", phase.bound},
          {"by_op", parts_json(phase.by_op)},
          {"by_layer", parts_json(phase.by_layer)},
          {"ops", parts_json(phase.ops)}};
}

Json change_json(const NpuChange& change) {
  return {{"what", change.what},
          {"change", change.change},
          {"refused", change.refused},
          {"prefill_tokens_per_second", change.prefill_tokens_per_second},
          {"decode_tokens_per_second", change.decode_tokens_per_second},
          {"joules_per_token", change.joules_per_token},
          {"weight_bytes", change.weight_bytes}};
}

// Names may hold bytes that are not UTF-8.
std::string dump(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace) + "\n";
}

Json name_event(const char* what, int process, int track, const std::string& name) {
  return {
      {"name", what}, {"ph", "M"}, {"pid", process}, {"tid", track}, {"args", {{"name", name}}}};
}

}  // namespace

std::string npu_profile_text(const NpuProfileReport& report) {
  std::string text =
      fmt::format("{} on {} (simulated time; nothing ran)\n\n", report.model, report.device);
  for (const NpuProfilePhase& phase : report.phases) text += phase_text(phase);
  return text + changes_text(report.changes);
}

std::string npu_profile_json(const NpuProfileReport& report) {
  Json phases = Json::array(), changes = Json::array();
  for (const NpuProfilePhase& phase : report.phases) phases.push_back(phase_json(phase));
  for (const NpuChange& change : report.changes) changes.push_back(change_json(change));
  return dump({{"model", report.model},
               {"device", report.device},
               {"simulated", true},
               {"phases", phases},
               {"changes", changes}},
              2);
}

std::string npu_profile_trace(const NpuProfileReport& report) {
  constexpr std::array kEngines = {"weight_dma", "data_dma", "matrix", "vector", "control"};
  Json events = Json::array();
  int process = 0;
  for (const NpuProfilePhase& phase : report.phases) {
    ++process;
    events.push_back(name_event("process_name", process, 0,
                                fmt::format("{} {}, simulated", phase.name, report.device)));
    for (std::size_t e = 0; e < kEngines.size(); ++e)
      events.push_back(name_event("thread_name", process, static_cast<int>(e), kEngines[e]));
    for (const NpuProfileEvent& event : phase.events) {
      const auto* engine = std::ranges::find(kEngines, event.engine);
      events.push_back({{"name", event.name},
                        {"cat", event.engine},
                        {"ph", "X"},
                        {"ts", event.start_us},
                        {"dur", event.end_us - event.start_us},
                        {"pid", process},
                        {"tid", engine - kEngines.begin()}});
    }
  }
  return dump({{"displayTimeUnit", "ms"}, {"traceEvents", std::move(events)}}, -1);
}

}  // namespace cria::cli
