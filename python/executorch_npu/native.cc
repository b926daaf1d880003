// The extension module behind the package executorch_npu.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "../status_to_python.h"
#include "cria/engine.h"

namespace py = pybind11;

namespace cria::python {
namespace {

// The device that programs run on. Today that is the CPU; the power profile is checked and kept,
// and engines made afterwards run by it (cria/engine.h says what it means).
struct Device {
  std::string name;
  std::string power_profile;
};

Device& current_device() {
  static Device device{"cpu", "high_performance"};
  return device;
}

Device init_device(const std::string& power_profile) {
  const std::vector<std::string> profiles = {"high_performance", "balanced", "low_power"};
  if (std::find(profiles.begin(), profiles.end(), power_profile) == profiles.end()) {
    raise(Status(
        ErrorCode::kInvalidArgument,
        "power_profile '" + power_profile + "': expected high_performance, balanced or low_power"));
  }
  current_device().power_profile = power_profile;
  return current_device();
}

// One row of float32 logits; a buffer for numpy and memoryview, a sequence for plain Python.
struct Logits {
  std::vector<float> values;
};

// The whole prompt at first, one id afterwards: both are appended where `buffer` stands.
Logits forward(const Engine& engine, const std::vector<std::int32_t>& ids, KvCacheBuffer& buffer) {
  Logits logits{std::vector<float>(engine.info().n_vocab)};
  Status status;
  {
    py::gil_scoped_release released;
    status = engine.forward(ids, buffer, logits.values);
  }
  check(status);
  return logits;
}

// The index of the largest of n values, the lowest index among equals.
template <typename Values>
std::int64_t index_of_largest(const Values& values, std::size_t n) {
  if (n == 0) raise(Status(ErrorCode::kInvalidArgument, "argmax of no values"));
  std::size_t best = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (std::isnan(values[i])) {
      raise(Status(ErrorCode::kInvalidArgument,
                   "argmax: value " + std::to_string(i) + " is not a number"));
    }
    if (values[i] > values[best]) best = i;
  }
  return static_cast<std::int64_t>(best);
}

std::int64_t argmax(const py::object& values) {
  if (py::isinstance<Logits>(values)) {
    const auto& logits = values.cast<const Logits&>().values;
    return index_of_largest(logits, logits.size());
  }
  const auto floats = values.cast<std::vector<double>>();
  return index_of_largest(floats, floats.size());
}

float logit_at(const Logits& logits, std::int64_t i) {
  const auto n = static_cast<std::int64_t>(logits.values.size());
  if (i < 0) i += n;
  if (i < 0 || i >= n) throw py::index_error("logit index out of range");
  return logits.values[i];
}

void define_logits(py::module_& module) {
  py::class_<Logits>(module, "Logits", py::buffer_protocol(),
                     "float32 logits of the last position, [n_vocab]. A buffer: "
                     "numpy.asarray(logits) copies nothing.")
      .def_buffer([](Logits& logits) {
        return py::buffer_info(logits.values.data(), sizeof(float),
                               py::format_descriptor<float>::format(), 1, {logits.values.size()},
                               {sizeof(float)});
      })
      .def("__len__", [](const Logits& logits) { return logits.values.size(); })
      .def("__getitem__", &logit_at)
      .def(
          "tolist", [](const Logits& logits) { return logits.values; },
          "the logits as a list of float");
}

void define_engine(py::module_& module) {
  py::class_<Engine>(module, "Engine", "A compiled program, mapped read-only.")
      .def(py::init([](const std::string& path, const std::optional<Device>& device) {
             EngineOptions options;
             options.power_profile = (device ? *device : current_device()).power_profile;
             return unwrap(Engine::load(path, options));
           }),
           py::arg("path"), py::arg("device") = py::none(), "Maps the `.pte` at `path`.")
      .def(
          "get_kv_cache_size",
          [](const Engine& engine, std::int64_t context_size) {
            return unwrap(engine.kv_cache_bytes(context_size));
          },
          py::arg("context_size"), "Bytes of a Buffer for `context_size` positions.")
      .def("forward", &forward, py::arg("ids"), py::arg("buffer"),
           "Appends `ids` (list of int) at the buffer's position and returns the Logits of the "
           "last one.")
      .def_property_readonly("vocab_size",
                             [](const Engine& engine) { return engine.info().n_vocab; })
      .def_property_readonly("max_context",
                             [](const Engine& engine) { return engine.info().max_context; });
}

}  // namespace

PYBIND11_MODULE(_native, module) {
  py::class_<Device>(module, "Device", "The device that programs run on.")
      .def_readonly("name", &Device::name)
      .def_readonly("power_profile", &Device::power_profile)
      .def("__repr__", [](const Device& device) {
        return "<Device " + device.name + ", power profile " + device.power_profile + ">";
      });
  module.def("init_device", &init_device, py::arg("power_profile") = "high_performance",
             "Selects the power profile (high_performance, balanced, low_power) of engines made "
             "from now on.");
  define_logits(module);
  py::class_<KvCacheBuffer>(module, "Buffer",
                            "The preallocated cache of one sequence; it keeps the position.")
      .def(py::init([](std::uint64_t size_bytes) {
             return unwrap(KvCacheBuffer::allocate(size_bytes));
           }),
           py::arg("size_bytes"))
      .def("reset", &KvCacheBuffer::reset, "Position 0: the next forward starts a new sequence.")
      .def("wipe", &KvCacheBuffer::wipe, "reset(), and every byte becomes zero.")
      .def_property_readonly("position", &KvCacheBuffer::position)
      .def_property_readonly("size_bytes", &KvCacheBuffer::size_bytes)
      .def("__len__", &KvCacheBuffer::size_bytes);
  define_engine(module);
  module.def("argmax", &argmax, py::arg("logits"),
             "Index of the largest value (the lowest among equals) of Logits or of any sequence of "
             "floats.");
}

}  // namespace cria::python
