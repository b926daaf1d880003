// `cria plan MODEL --device sim:X`: where each op runs best, and what comes of it.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "commands.h"
#include "cria/npu.h"
#include "model_arguments.h"
#include "npu_arguments.h"
#include "pins.h"
#include "terminal.h"

namespace cria::cli {
namespace {

using Json = nlohmann::ordered_json;

std::string dump(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Json op_json(const NpuPlannedOp& op) {
  Json costs = Json::array();
  for (const NpuOpCost& cost : op.costs) {
    costs.push_back({{"device", cost.device},
                     {"possible", cost.possible},
                     {"prefill_us", cost.prefill_us},
                     {"decode_us", cost.decode_us},
                     {"bound", cost.bound},
                     {"reason", cost.reason}});
  }
  return {{"kind", op.kind},     {"name", op.name},     {"layer", op.layer},
          {"device", op.device}, {"reason", op.reason}, {"costs", costs}};
}

Json call_json(const NpuCallReport& call) {
  return {{"ms", call.ms},
          {"submit_ms", call.submit_ms},
          {"complete_ms", call.complete_ms},
          {"choose_ms", call.choose_ms},
          {"weight_bytes", call.weight_bytes},
          {"kv_bytes", call.kv_bytes},
          {"activation_bytes", call.activation_bytes},
          {"sram_bytes", call.sram_bytes},
          {"n_commands", call.n_commands},
          {"n_submissions", call.n_submissions},
          {"n_contexts", call.n_contexts},
          {"n_copies", call.n_copies}};
}

std::string json_text(const NpuPlanReport& report) {
  Json ops = Json::array();
  for (const NpuPlannedOp& op : report.ops) ops.push_back(op_json(op));
  return dump({{"model", report.model},
               {"device", report.device},
               {"prefill_tokens_per_second", report.prefill_tokens_per_second},
               {"decode_tokens_per_second", report.decode_tokens_per_second},
               {"first_token_ms", report.first_token_ms},
               {"joules_per_token", report.joules_per_token},
               {"dram_bytes_per_token", report.dram_bytes_per_token},
               {"kv_bytes", report.kv_bytes},
               {"sram_peak_bytes", report.sram_peak_bytes},
               {"sram_size_bytes", report.sram_size_bytes},
               {"n_copies", report.prefill.n_copies + report.decode.n_copies},
               {"prefill", call_json(report.prefill)},
               {"decode", call_json(report.decode)},
               {"handoffs_per_call", report.handoffs_per_call},
               {"handoff_bytes_per_token", report.handoff_bytes_per_token},
               {"search_seconds", report.search_seconds},
               {"ops", ops}});
}

std::string cost_text(const NpuOpCost& cost) {
  return cost.possible ? fmt::format("{:.1f}", cost.decode_us) : std::string("-");
}

std::string call_text(const char* name, const NpuCallReport& call) {
  return fmt::format(
      "{:<7} call {:.2f} ms, {:.2f} of it the host; commands {}, submissions {}; SRAM {}; DRAM {} "
      "of weights, {} of cache, {} of activations; copies {}\n",
      name, call.ms, call.submit_ms + call.complete_ms + call.choose_ms, call.n_commands,
      call.n_submissions, format_bytes(call.sram_bytes), bytes_text(call.weight_bytes),
      bytes_text(call.kv_bytes), bytes_text(call.activation_bytes), call.n_copies);
}

std::string totals_text(const NpuPlanReport& report) {
  std::string text = fmt::format(
      "\nprefill {:.1f} tok/s, first token after {:.1f} ms; decode {:.2f} tok/s, {:.1f} mJ/token\n",
      report.prefill_tokens_per_second, report.first_token_ms, report.decode_tokens_per_second,
      1e3 * report.joules_per_token);
  text += fmt::format("SRAM peak {} of {}; DRAM traffic {} a token; KV cache {}; copies {}\n",
                      format_bytes(report.sram_peak_bytes), format_bytes(report.sram_size_bytes),
                      bytes_text(report.dram_bytes_per_token), bytes_text(report.kv_bytes),
                      report.prefill.n_copies + report.decode.n_copies);
  text += fmt::format("handoffs between NPU and CPU {} a call, {} of activations a token\n",
                      report.handoffs_per_call, bytes_text(report.handoff_bytes_per_token));
  return text + call_text("prefill", report.prefill) + call_text("decode", report.decode);
}

std::string people_text(const NpuPlanReport& report) {
  std::string text = fmt::format("{} on {} (simulated; microseconds of one decode step)\n\n",
                                 report.model, report.device);
  text += fmt::format("{:<10} {:<28} {:<4} {:>10} {:>10} {:<7} {}\n", "op", "", "on", "npu", "cpu",
                      "bound", "why");
  for (const NpuPlannedOp& op : report.ops) {
    std::string bound;
    for (const NpuOpCost& cost : op.costs) {
      if (cost.device == op.device) bound = cost.bound;
    }
    text += fmt::format("{:<10} {:<28} {:<4} {:>10} {:>10} {:<7} {}\n", op.kind, op.name, op.device,
                        cost_text(op.costs[0]), cost_text(op.costs[1]), bound, op.reason);
  }
  return text + totals_text(report);
}

struct Arguments {
  NpuModelOptions options;
  std::string place;  // "attention=npu,linear=cpu"
  bool json = false;
};

int run(Arguments& arguments) {
  Result<Pins> pins = read_pins(arguments.place);
  if (!pins.ok()) return fail(pins.status());
  arguments.options.pins = std::move(*pins);
  const Result<NpuPlanReport> report = plan_on_npu(arguments.options);
  if (!report.ok()) return fail(report.status());
  const Status status = write_stdout(arguments.json ? json_text(*report) : people_text(*report));
  return status.ok() ? 0 : fail(status);
}

}  // namespace

void add_plan(CLI::App& app, Command& selected) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "plan", "where each op runs best on a device with an NPU, and how fast that is");
  add_npu_arguments(*command, arguments->options);
  command
      ->add_option("--power-profile", arguments->options.power_profile,
                   "clock states of the device: high_performance, balanced or low_power")
      ->check(power_profiles());
  command->add_option(
      "--place", arguments->place,
      "ops that must run on a device, by kind or name: attention=npu,blk.0.qkv=cpu");
  command->add_flag("--json", arguments->json, "as JSON");
  command->callback([arguments, &selected] { selected = [arguments] { return run(*arguments); }; });
}

}  // namespace cria::cli
