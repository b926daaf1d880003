#include "api/program_device.h"

#include "delegates/cpu/cpu_delegate.h"
#include "delegates/sim_npu/sim_npu_delegate.h"
#include "format/npu_profile/npu_profile.h"
#include "format/pte/pte_program.h"

namespace cria {
namespace {

constexpr std::string_view kSim = "sim:";

// The profile that commands were compiled for, as their compile specs say.
std::string sim_device(const pte::BackendDelegate& delegate) {
  for (const pte::CompileSpec& spec : delegate.compile_specs) {
    if (spec.key == "device") {
      return fmt::format(
          "{}{}", kSim,
          std::string_view(reinterpret_cast<const char*>(spec.value.data()), spec.value.size()));
    }
  }
  return std::string(kSim);
}

// The device's name where `wanted` is the path of a profile.
Result<std::string> device_name(const std::string& wanted) {
  const bool is_path = wanted.find('/') != std::string::npos || wanted.ends_with(".toml");
  if (!wanted.starts_with(kSim) || !is_path) return wanted;
  CRIA_ASSIGN_OR_RETURN(const NpuProfileFile file, load_npu_profile(wanted.substr(kSim.size())));
  return fmt::format("{}{}", kSim, file.profile.name);
}

}  // namespace

std::string program_device(const Program& program) {
  std::string device = "?";
  for (const std::string& name : program.method_names()) {
    const Result<const pte::ExecutionPlan*> plan = program.plan(name);
    if (!plan.ok()) continue;
    for (const pte::BackendDelegate& delegate : (*plan)->delegates) {
      if (delegate.id == sim_npu_delegate()->name) return sim_device(delegate);
      if (delegate.id == cpu_delegate()->name) device = "cpu";
    }
  }
  return device;
}

Status check_device(const Program& program, const std::string& wanted) {
  const std::string compiled_for = program_device(program);
  if (wanted.empty() || wanted == compiled_for) return {};
  if (wanted != "cpu" && !wanted.starts_with(kSim))
    return invalid_argument("device '{}', expected cpu or sim:PROFILE", wanted);
  CRIA_ASSIGN_OR_RETURN(const std::string name, device_name(wanted));
  if (name == compiled_for) return {};
  return unsupported("{}: compiled for {}, not for {}; compile the model again", program.path(),
                     compiled_for, name);
}

}  // namespace cria
