// `cria devices`: what there is to run on.
#include "cria/devices.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "commands.h"
#include "terminal.h"

namespace cria::cli {
namespace {

using Json = nlohmann::ordered_json;

Json npu_json(const NpuDevice& npu) {
  return {{"node", npu.node},
          {"driver", npu.driver},
          {"pci_id", npu.pci_id},
          {"device", npu.device},
          {"profile", npu.profile}};
}

Json profile_json(const ProfileSummary& profile) {
  Json provenance = Json::object();
  for (const ProvenanceCount& count : profile.provenance)
    provenance[count.provenance] = count.n_fields;
  return {{"name", profile.name},           {"title", profile.title},
          {"vendor", profile.vendor},       {"year", profile.year},
          {"status", profile.status},       {"path", profile.path},
          {"int8_tops", profile.int8_tops}, {"f16_tflops", profile.f16_tflops},
          {"sram_mb", profile.sram_mb},     {"dram_gb_per_s", profile.dram_gb_per_s},
          {"provenance", provenance}};
}

std::string json_text(const DeviceList& list) {
  Json npus = Json::array();
  for (const NpuDevice& npu : list.npus) npus.push_back(npu_json(npu));
  Json profiles = Json::array();
  for (const ProfileSummary& profile : list.profiles) profiles.push_back(profile_json(profile));
  const Json cpu = {{"name", list.cpu.name}, {"isa", list.cpu.isa}, {"n_cores", list.cpu.n_cores}};
  return Json{{"cpu", cpu}, {"npus", npus}, {"profiles", profiles}, {"problems", list.problems}}
             .dump(2, ' ', false, Json::error_handler_t::replace) +
         "\n";
}

std::string people_text(const DeviceList& list) {
  std::string text =
      fmt::format("cpu   {}, {}, {} cores\n", list.cpu.name, list.cpu.isa, list.cpu.n_cores);
  for (const NpuDevice& npu : list.npus) {
    text +=
        fmt::format("npu   {}: {} (driver {}{}); cria has no delegate for it{}\n", npu.node,
                    npu.device.empty() ? "unknown" : npu.device, npu.driver,
                    npu.pci_id.empty() ? "" : ", " + npu.pci_id,
                    npu.profile.empty() ? "" : ", --device sim:" + npu.profile + " simulates it");
  }
  if (list.npus.empty()) text += "npu   none found\n";
  text += fmt::format("\n{:<20} {:<44} {:>4}  {:>9} {:>10} {:>8} {:>10}  {}\n", "--device", "",
                      "year", "int8 TOPS", "f16 TFLOPS", "SRAM MB", "DRAM GB/s", "constants");
  for (const ProfileSummary& profile : list.profiles) {
    text += fmt::format("{:<20} {:<44} {:>4}  {:>9.1f} {:>10.1f} {:>8.1f} {:>10.1f}  {}\n",
                        "sim:" + profile.name, profile.title, profile.year, profile.int8_tops,
                        profile.f16_tflops, profile.sram_mb, profile.dram_gb_per_s, profile.status);
  }
  return text;
}

int run(bool as_json) {
  const DeviceList list = list_devices();
  for (const std::string& problem : list.problems)
    fmt::print(stderr, "cria: left out: {}\n", problem);
  const Status status = write_stdout(as_json ? json_text(list) : people_text(list));
  return status.ok() ? 0 : fail(status);
}

}  // namespace

void add_devices(CLI::App& app, Command& selected) {
  auto as_json = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand(
      "devices", "this machine's CPU and NPUs, and the NPUs that can be simulated");
  command->add_flag("--json", *as_json, "as JSON");
  command->callback([as_json, &selected] { selected = [as_json] { return run(*as_json); }; });
}

}  // namespace cria::cli
