#include "base/result.h"
#include "cria/energy.h"
#include "machine/energy_counters.h"

namespace cria {

class EnergyMeter::Impl {
 public:
  struct Running {
    EnergyCounter counter;
    double last = 0;
  };

  Status read(Running& running, bool first) {
    CRIA_ASSIGN_OR_RETURN(const double now, read_number(running.counter.path));
    double volts = 1;
    if (!running.counter.voltage_path.empty()) {
      CRIA_ASSIGN_OR_RETURN(const double microvolts, read_number(running.counter.voltage_path));
      volts = microvolts * 1e-6;
    }
    if (!first) joules += counted_joules(running.counter, running.last, now, volts);
    running.last = now;
    return {};
  }

  std::vector<Running> counters;
  std::string source;
  double joules = 0;
};

EnergyMeter::EnergyMeter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
EnergyMeter::EnergyMeter(EnergyMeter&&) noexcept = default;
EnergyMeter& EnergyMeter::operator=(EnergyMeter&&) noexcept = default;
EnergyMeter::~EnergyMeter() = default;

Result<EnergyMeter> EnergyMeter::open(const std::string& sysfs_root) {
  CRIA_ASSIGN_OR_RETURN(const std::vector<EnergyCounter> found, find_energy_counters(sysfs_root));
  auto impl = std::make_unique<Impl>();
  for (const EnergyCounter& counter : found) {
    const bool battery = counter.shrinks;
    impl->source += impl->source.empty() ? (battery ? "battery " : "powercap: ") : ", ";
    impl->source += counter.name;
    impl->counters.push_back({counter, 0});
    CRIA_RETURN_IF_ERROR(impl->read(impl->counters.back(), true));
  }
  if (found[0].shrinks) impl->source += ": the whole machine";
  return EnergyMeter(std::move(impl));
}

const std::string& EnergyMeter::source() const { return impl_->source; }

Result<double> EnergyMeter::joules() {
  for (Impl::Running& running : impl_->counters) CRIA_RETURN_IF_ERROR(impl_->read(running, false));
  return impl_->joules;
}

}  // namespace cria
