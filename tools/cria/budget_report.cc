#include "budget_report.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>

#include "terminal.h"

namespace cria::cli {
namespace {

constexpr double kMostBytes = 1e15;
constexpr double kMostBits = 32;

struct Unit {
  const char* name;
  double bytes;  // 0: bits a weight
};
constexpr Unit kUnits[] = {{"B", 1},        {"GB", 1e9},     {"MB", 1e6},     {"KB", 1e3},
                           {"GiB", 0x1p30}, {"MiB", 0x1p20}, {"KiB", 0x1p10}, {"bpw", 0}};

nlohmann::ordered_json choice_json(const BudgetChoice& choice) {
  return {{"encoding", choice.encoding}, {"bytes", choice.size_bytes}, {"kl", choice.kl}};
}

double bits_of(const BudgetTensor& tensor, const BudgetChoice& choice) {
  return 8.0 * static_cast<double>(choice.size_bytes) / static_cast<double>(tensor.n_weights);
}

// The step with the most KL saved (or, downwards, the least KL lost) a byte.
struct Step {
  const BudgetTensor* tensor = nullptr;
  const BudgetChoice* to = nullptr;
  double kl_per_byte = 0;
};

Step best_step(const BudgetReport& report, bool up) {
  Step best;
  for (const BudgetTensor& tensor : report.tensors) {
    const std::optional<BudgetChoice>& to = up ? tensor.more : tensor.less;
    if (!to || to->size_bytes == tensor.chosen.size_bytes) continue;
    const double rate =
        (to->kl - tensor.chosen.kl) /
        (static_cast<double>(tensor.chosen.size_bytes) - static_cast<double>(to->size_bytes));
    const bool better = up ? rate > best.kl_per_byte : rate < best.kl_per_byte;
    if (best.tensor == nullptr || better) best = {&tensor, &*to, rate};
  }
  return best;
}

std::string step_text(const BudgetReport& report, bool up) {
  const Step step = best_step(report, up);
  if (step.tensor == nullptr) {
    return fmt::format("one step {}: there is none\n", up ? "more" : "less");
  }
  const BudgetChoice& from = step.tensor->chosen;
  const double bytes =
      std::abs(static_cast<double>(step.to->size_bytes) - static_cast<double>(from.size_bytes));
  return fmt::format("one step {}: {} from {} to {}, {} {} and KL {:+.6f}\n", up ? "more" : "less",
                     step.tensor->name, from.encoding, step.to->encoding, up ? '+' : '-',
                     format_bytes(static_cast<std::uint64_t>(bytes)), step.to->kl - from.kl);
}

nlohmann::ordered_json step_json(const BudgetReport& report, bool up) {
  const Step step = best_step(report, up);
  if (step.tensor == nullptr) return nullptr;
  nlohmann::ordered_json json = {{"name", step.tensor->name}};
  json.update(choice_json(*step.to));
  return json;
}

}  // namespace

std::string parse_budget(const std::string& text, BudgetOptions& budget) {
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  const std::string unit = end;
  budget.file_bytes = 0;
  budget.bits_per_weight = 0;
  for (const Unit& known : kUnits) {
    if (unit != known.name || end == text.c_str() || !(number > 0)) continue;
    if (known.bytes == 0 && number <= kMostBits) {
      budget.bits_per_weight = number;
      return "";
    }
    if (known.bytes > 0 && number * known.bytes >= 1 && number * known.bytes <= kMostBytes) {
      budget.file_bytes = static_cast<std::uint64_t>(number * known.bytes);
      return "";
    }
  }
  return fmt::format("budget '{}', expected as 1.8GB, 700MB, 1.7GiB, 650MiB or 4.25bpw", text);
}

nlohmann::ordered_json budget_json(const BudgetReport& report) {
  nlohmann::ordered_json tensors = nlohmann::ordered_json::array();
  for (const BudgetTensor& tensor : report.tensors) {
    tensors.push_back({{"name", tensor.name},
                       {"encoding", tensor.chosen.encoding},
                       {"bits_per_weight", bits_of(tensor, tensor.chosen)},
                       {"bytes", tensor.chosen.size_bytes},
                       {"kl", tensor.chosen.kl},
                       {"kl_saved_per_byte", tensor.kl_saved_per_byte()}});
    if (tensor.less) tensors.back()["less"] = choice_json(*tensor.less);
    if (tensor.more) tensors.back()["more"] = choice_json(*tensor.more);
  }
  nlohmann::ordered_json uniform = nlohmann::ordered_json::array();
  for (const BudgetChoice& choice : report.uniform) uniform.push_back(choice_json(choice));
  return {{"budget_bytes", report.budget_bytes},
          {"file_bytes_at_most", report.file_bytes},
          {"overhead_bytes", report.overhead_bytes},
          {"kl", report.kl},
          {"seconds", report.seconds},
          {"one_step_more", step_json(report, true)},
          {"one_step_less", step_json(report, false)},
          {"uniform", uniform},
          {"tensors", tensors}};
}

std::string budget_text(const BudgetReport& report) {
  std::string text = fmt::format("{:<28} {:<8} {:>6} {:>10} {:>11} {:>14}\n", "tensor", "encoding",
                                 "bits", "bytes", "KL", "saved per MB");
  for (const BudgetTensor& tensor : report.tensors) {
    text += fmt::format("{:<28} {:<8} {:>6.3f} {:>10} {:>11.6f} {:>14.6f}\n", tensor.name,
                        tensor.chosen.encoding, bits_of(tensor, tensor.chosen),
                        format_bytes(tensor.chosen.size_bytes), tensor.chosen.kl,
                        1e6 * tensor.kl_saved_per_byte());
  }
  text += fmt::format("all: {} of {}, estimated KL {:.6f} (measured in {})\n",
                      format_bytes(report.file_bytes), format_bytes(report.budget_bytes), report.kl,
                      format_seconds(report.seconds));
  text += step_text(report, true) + step_text(report, false);
  for (const BudgetChoice& choice : report.uniform) {
    text += fmt::format("all in {:<8} {:>10}, estimated KL {:.6f}\n", choice.encoding,
                        format_bytes(choice.size_bytes), choice.kl);
  }
  return text;
}

}  // namespace cria::cli
