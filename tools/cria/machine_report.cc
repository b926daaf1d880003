#include "machine_report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <vector>

namespace cria::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kGiga = 1e9;

// One measurement.
struct Row {
  std::string measure;  // "read", "int8", "bf16", "f32", "int8_tiles", "bf16_tiles", "fork_join"
  std::string with;     // pages or instructions
  int n_threads = 0;
  double rate = 0;  // in units
  const char* unit = "";
};

std::vector<Row> rows_of(const MachineReport& report) {
  std::vector<Row> rows;
  for (const ReadRate& rate : report.reads) {
    rows.push_back(
        {"read", rate.pages + " pages", rate.n_threads, rate.bytes_per_second / kGiga, "GB/s"});
  }
  for (const DotRate& rate : report.dots) {
    rows.push_back(
        {rate.type, rate.instructions, rate.n_threads, rate.macs_per_second / kGiga, "GMAC/s"});
  }
  for (const ForkJoinTime& time : report.fork_joins) {
    rows.push_back({"fork_join", "no work", time.n_threads, time.seconds * 1e6, "us"});
  }
  return rows;
}

Json row_json(const Row& row) {
  return {{"measure", row.measure},
          {"with", row.with},
          {"n_threads", row.n_threads},
          {"rate", row.rate},
          {"unit", row.unit}};
}

Json report_json(const MachineReport& report) {
  Json peaks = {{"read_gb_per_second", report.best_read().bytes_per_second / kGiga}};
  for (const char* type : {"int8", "bf16", "f32"}) {
    peaks[fmt::format("{}_gmac_per_second", type)] =
        report.macs_per_second(type, report.n_cores) / kGiga;
    peaks[fmt::format("{}_gmac_per_second_one_thread", type)] =
        report.macs_per_second(type, 1) / kGiga;
  }
  for (const char* type : {"int8_tiles", "bf16_tiles"}) {
    const double rate = report.macs_per_second(type, report.n_cores);
    if (rate > 0) peaks[fmt::format("{}_gmac_per_second", type)] = rate / kGiga;
  }
  if (!report.fork_joins.empty()) peaks["fork_join_us"] = report.fork_joins.back().seconds * 1e6;
  Json rows = Json::array();
  for (const Row& row : rows_of(report)) rows.push_back(row_json(row));
  return {{"cpu", report.cpu},         {"isa", report.isa}, {"n_cores", report.n_cores},
          {"seconds", report.seconds}, {"peaks", peaks},    {"measurements", rows}};
}

std::string md_text(const MachineReport& report) {
  std::string text =
      "| measure    | with                       | threads |            rate |\n"
      "| ---------- | -------------------------- | ------: | --------------: |\n";
  for (const Row& row : rows_of(report)) {
    text += fmt::format("| {:<10} | {:<26} | {:>7} | {:>8.2f} {:<6} |\n", row.measure, row.with,
                        row.n_threads, row.rate, row.unit);
  }
  return text + "\n" + machine_line(report);
}

}  // namespace

std::string machine_text(const std::string& format, const MachineReport& report) {
  if (format == "md") return md_text(report);
  if (format == "json") return report_json(report).dump(2) + "\n";
  std::string text = format == "csv" ? "measure,with,n_threads,rate,unit\n" : "";
  for (const Row& row : rows_of(report)) {
    text += format == "jsonl" ? row_json(row).dump() + "\n"
                              : fmt::format("{},{},{},{},{}\n", row.measure, row.with,
                                            row.n_threads, row.rate, row.unit);
  }
  return text;
}

std::string machine_line(const MachineReport& report) {
  const auto gmacs = [&report](const char* type) {
    return report.macs_per_second(type, report.n_cores) / kGiga;
  };
  return fmt::format(
      "machine: {} ({}), {} cores: reads {:.1f} GB/s, int8 {:.0f} GMAC/s, bf16 {:.0f}, f32 {:.0f}; "
      "measured in {:.1f} s\n",
      report.cpu, report.isa, report.n_cores, report.best_read().bytes_per_second / kGiga,
      gmacs("int8"), gmacs("bf16"), gmacs("f32"), report.seconds);
}

}  // namespace cria::cli
