#include "bench_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "terminal.h"

namespace cria::cli {
namespace {

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (double value : values) sum += value;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

// Of a sample, so n - 1.
double stddev(const std::vector<double>& values) {
  if (values.size() < 2) return 0;
  const double center = mean(values);
  double sum = 0;
  for (double value : values) sum += (value - center) * (value - center);
  return std::sqrt(sum / static_cast<double>(values.size() - 1));
}

std::vector<double> nanoseconds(const BenchRow& row) {
  return {row.samples_ns.begin(), row.samples_ns.end()};
}

std::vector<double> rates(const BenchRow& row) {
  std::vector<double> rates;
  const auto n_tokens = static_cast<double>(row.test.n_tokens());
  for (std::uint64_t ns : row.samples_ns) rates.push_back(1e9 * n_tokens / static_cast<double>(ns));
  return rates;
}

// As llama-bench calls the processor; else the device that the program was compiled for.
std::string backend_of(const BenchRow& row) { return row.on_cpu() ? "CPU" : row.model.device; }

// The keys of llama-bench, then cria's own.
nlohmann::ordered_json row_json(const BenchRow& row) {
  return {{"model_filename", row.model_path},
          {"model_type", row.model.description},
          {"model_size", row.model.weight_bytes},
          {"model_n_params", row.model.n_parameters},
          {"backends", backend_of(row)},
          {"n_threads", row.n_threads},
          {"power_profile", row.power_profile},
          {"activations", row.model.activations},
          {"type_k", row.model.cache_type_k},
          {"type_v", row.model.cache_type_v},
          {"use_mmap", true},
          {"n_batch", row.model.n_batch},
          {"n_ubatch", row.model.prefill_chunk},
          {"n_prompt", row.test.n_prompt},
          {"n_gen", row.test.n_gen},
          {"n_depth", row.test.n_depth},
          {"n_verify", row.test.n_verify},
          {"test_time", row.test_time},
          {"avg_ns", static_cast<std::uint64_t>(row.mean_ns())},
          {"stddev_ns", static_cast<std::uint64_t>(row.stddev_ns())},
          {"avg_ts", row.mean_rate()},
          {"stddev_ts", row.stddev_rate()},
          {"samples_ns", row.samples_ns},
          {"samples_ts", rates(row)},
          {"first_token_ms", row.first_token_ms},
          {"decode_step_ns", median(row.decode_step_ns)},
          {"verify_step_ns", median(row.verify_step_ns)},
          {"verify_ratio", row.verify_ratio()},
          {"load_ms", 1e3 * row.model.load_seconds},
          {"touched_weight_bytes", row.cost.weight_bytes},
          {"touched_kv_bytes", row.cost.kv_bytes},
          {"macs", row.cost.macs()},
          {"gb_per_second", row.bytes_per_second() / 1e9},
          {"gmac_per_second", row.macs_per_second() / 1e9},
          {"peak", row.peak.name},
          {"peak_rate", row.peak.per_second / 1e9},
          {"peak_share", row.peak_share()},
          {"sustained_rate", mean(row.sustained) / 1e9},
          {"sustained_share", row.sustained_share()},
          {"first_depth_share", row.first_depth_share},
          {"cpu_seconds_per_token", row.cpu_seconds_per_token()},
          {"joules_per_token", row.joules_per_token()},
          {"energy_source", row.energy_source},
          {"kv_bytes", row.kv_bytes},
          {"rss_anon_bytes", row.rss_anon_bytes},
          {"rss_file_bytes", row.rss_file_bytes}};
}

std::string csv_line(const BenchRow& row, bool first) {
  std::string header;
  std::string line;
  const nlohmann::ordered_json json = row_json(row);
  for (const auto& [key, value] : json.items()) {
    if (value.is_array()) continue;
    header += fmt::format("{}{}", header.empty() ? "" : ",", key);
    line += fmt::format("{}{}", line.empty() ? "" : ",", value.dump());
  }
  return first ? header + "\n" + line + "\n" : line + "\n";
}

// Bound by the multiply-adds or by memory, so told in their unit.
std::string rate_text(const BenchRow& row) {
  if (!row.on_cpu()) return "-";
  if (row.peak.name == "read") return fmt::format("{:.2f} GB/s", row.bytes_per_second() / 1e9);
  return fmt::format("{:.1f} GMAC/s", row.macs_per_second() / 1e9);
}

std::string share_text(const BenchRow& row) {
  if (row.peak_share() == 0) return "-";
  return fmt::format("{:.1f} % {}", 100 * row.peak_share(), row.peak.name);
}

std::string percent_text(double share) {
  return share == 0 ? "-" : fmt::format("{:.1f} %", 100 * share);
}

std::string md_line(const ReportStyle& style, const BenchRow& row) {
  std::string front;
  if (style.batches) {
    front = fmt::format("| {:>7} | {:>8} ", row.model.n_batch, row.model.prefill_chunk);
  }
  if (style.verify) {
    front += row.test.n_verify > 0 ? fmt::format("| {:>12.3f} ", row.verify_ratio())
                                   : fmt::format("| {:>12} ", "-");
  }
  if (style.turns) {
    front += fmt::format("| {:>12} | {:>14} ", percent_text(row.sustained_share()),
                         percent_text(row.first_depth_share));
  }
  return front +
         fmt::format(
             "| {:<24} | {:>10} | {:>8.2f} M | {:<7} | {:>7} | {:>16} | {:>9.2f} ± {:<7.2f} | "
             "{:>13} | "
             "{:>11} | {:>9} | {:>9} | {:>10} | {:<16} | {:>9} | {:>9} |\n",
             row.model.description, format_bytes(row.model.weight_bytes),
             static_cast<double>(row.model.n_parameters) / 1e6, backend_of(row), row.n_threads,
             test_name(row.test), row.mean_rate(), row.stddev_rate(), rate_text(row),
             share_text(row),
             row.first_token_ms > 0 ? format_seconds(row.first_token_ms / 1e3) : "-",
             format_seconds(row.model.load_seconds), format_bytes(row.rss_anon_bytes),
             row.power_profile,
             row.cpu_seconds > 0 ? format_seconds(row.cpu_seconds_per_token()) : "-",
             row.energy_source.empty() ? "-" : fmt::format("{:.3g}", row.joules_per_token()));
}

}  // namespace

double BenchRow::mean_ns() const { return mean(nanoseconds(*this)); }
double BenchRow::stddev_ns() const { return stddev(nanoseconds(*this)); }
double BenchRow::mean_rate() const { return mean(rates(*this)); }
double BenchRow::stddev_rate() const { return stddev(rates(*this)); }

double BenchRow::macs_per_second() const {
  return 1e9 * static_cast<double>(cost.macs()) / mean_ns();
}

double BenchRow::bytes_per_second() const {
  return 1e9 * static_cast<double>(cost.bytes()) / mean_ns();
}

double BenchRow::peak_share() const {
  if (peak.per_second <= 0) return 0;
  return (peak.name == "read" ? bytes_per_second() : macs_per_second()) / peak.per_second;
}

double BenchRow::sustained_share() const {
  const auto work = static_cast<double>(peak.name == "read" ? cost.bytes() : cost.macs());
  std::vector<double> shares;
  for (std::size_t i = 0; i < sustained.size(); ++i) {
    shares.push_back(1e9 * work / static_cast<double>(samples_ns[i]) / sustained[i]);
  }
  return median(shares);
}

double BenchRow::cpu_seconds_per_token() const {
  const auto n_tokens = static_cast<double>(test.n_tokens());
  return cpu_seconds / (n_tokens * static_cast<double>(samples_ns.size()));
}

double BenchRow::joules_per_token() const {
  const auto n_tokens = static_cast<double>(test.n_tokens());
  return joules / (n_tokens * static_cast<double>(samples_ns.size()));
}

double BenchRow::verify_ratio() const {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < decode_step_ns.size(); ++i) {
    ratios.push_back(verify_step_ns[i] / decode_step_ns[i]);
  }
  return median(ratios);
}

void compare_depths(std::vector<BenchRow*> rows) {
  for (BenchRow* row : rows) {
    const auto same = std::find_if(rows.begin(), rows.end(), [row](const BenchRow* other) {
      const BenchTest &a = row->test, &b = other->test;
      return a.n_prompt == b.n_prompt && a.n_gen == b.n_gen && a.n_verify == b.n_verify;
    });
    if ((*same)->test.n_depth == row->test.n_depth) continue;
    std::vector<double> shares;
    for (std::size_t i = 0; i < row->samples_ns.size(); ++i) {
      shares.push_back(static_cast<double>((*same)->samples_ns[i]) /
                       static_cast<double>(row->samples_ns[i]));
    }
    row->first_depth_share = median(shares);
  }
}

std::string test_name(const BenchTest& test) {
  std::string name;
  if (test.n_prompt > 0) name = fmt::format("pp{}", test.n_prompt);
  if (test.n_gen > 0) name += fmt::format("{}tg{}", name.empty() ? "" : "+", test.n_gen);
  if (test.n_verify > 0) name = fmt::format("vk{}", test.n_verify);
  if (test.n_depth > 0) name += fmt::format(" @ d{}", test.n_depth);
  return name;
}

std::string report_begin(const ReportStyle& style) {
  if (style.format == "json") return "[\n";
  if (style.format != "md") return "";
  std::string front = style.batches ? "| n_batch | n_ubatch " : "";
  std::string rule = style.batches ? "| ------: | -------: " : "";
  if (style.verify) {
    front += "| decode steps ";
    rule += "| -----------: ";
  }
  if (style.turns) {
    front += "| of sustained | of first depth ";
    rule += "| -----------: | -------------: ";
  }
  return front +
         "| model                    |       size |     params | backend | threads |             "
         "test |"
         "               t/s |          rate |     of peak |      ttft |      load | own memory "
         "| power profile    | cpu s/tok |   J/token |\n" +
         rule +
         "| ------------------------ | ---------: | ---------: | ------- | ------: | "
         "---------------: |"
         " ----------------: | ------------: | ----------: | --------: | --------: | ---------: "
         "| ---------------- | --------: | --------: |\n";
}

std::string report_row(const ReportStyle& style, const BenchRow& row, bool first) {
  if (style.format == "md") return md_line(style, row);
  if (style.format == "csv") return csv_line(row, first);
  if (style.format == "jsonl") return row_json(row).dump() + "\n";
  return (first ? "" : ",\n") + row_json(row).dump(2);
}

std::string report_end(const ReportStyle& style) { return style.format == "json" ? "\n]\n" : ""; }

}  // namespace cria::cli
