#include "enhancer.hpp"

#include <pybind11/embed.h>
#include <pybind11/numpy.h>

namespace py = pybind11;

namespace {

// The last line of what Python says: "mirnet_deploy.errors.EngineError: ...", less the class.
EnhancerError error_of(const py::error_already_set& error) {
    return EnhancerError(py::cast<std::string>(py::str(error.value())));
}

// An array over the caller's memory. It has a base, so pybind11 makes no copy; one that owns nothing.
py::array view(const std::uint8_t* data, std::size_t step, int rows, int cols) {
    const std::vector<py::ssize_t> shape{rows, cols, 3}, strides{static_cast<py::ssize_t>(step), 3, 1};
    return py::array(py::dtype::of<std::uint8_t>(), shape, strides, data, py::capsule(data, "the caller's memory"));
}

}  // namespace

struct Python::State {
    std::unique_ptr<py::scoped_interpreter> interpreter;
    std::unique_ptr<py::gil_scoped_release> released;
};

Python::Python(const std::string& executable) : state_(std::make_unique<State>()) {
    PyConfig config;
    PyConfig_InitPythonConfig(&config);
    config.install_signal_handlers = 0;  // Ctrl-C is the program's
    // From the place of this file Python finds its environment, as `python` started from there does.
    PyStatus status = PyConfig_SetBytesString(&config, &config.executable, executable.c_str());
    if (PyStatus_Exception(status)) throw EnhancerError("no Python at " + executable);
    try {
        state_->interpreter = std::make_unique<py::scoped_interpreter>(&config);
        state_->released = std::make_unique<py::gil_scoped_release>();
    } catch (const std::runtime_error& error) {
        throw EnhancerError(std::string("Python does not start: ") + error.what());
    }
}

Python::~Python() { state_->released.reset(); }

struct Enhancer::State {
    py::object runtime, enhance;
};

Enhancer::Enhancer(const std::string& model, const std::string& device) {
    py::gil_scoped_acquire lock;
    try {
        auto state = std::make_unique<State>();
        const py::object make = py::module_::import("mirnet_deploy").attr("MIRNetRuntime");
        state->runtime = make(model, py::arg("device") = device, py::arg("channel_order") = "bgr");
        state->enhance = state->runtime.attr("enhance");
        state_ = std::move(state);
    } catch (const py::error_already_set& error) {
        throw error_of(error);
    }
}

Enhancer::~Enhancer() {
    py::gil_scoped_acquire lock;
    try {
        state_->runtime.attr("close")();
    } catch (const py::error_already_set&) {
        // A device past use; the call that failed has said so.
    }
    state_.reset();
}

void Enhancer::enhance(const std::uint8_t* source, std::size_t source_step, std::uint8_t* target,
                       std::size_t target_step, int rows, int cols) const {
    py::gil_scoped_acquire lock;
    try {
        state_->enhance(view(source, source_step, rows, cols), view(target, target_step, rows, cols));
    } catch (const py::error_already_set& error) {
        throw error_of(error);
    }
}

std::string Enhancer::backend() const {
    py::gil_scoped_acquire lock;
    const py::object info = state_->runtime.attr("info");
    return py::cast<std::string>(info.attr("backend")) + " on " + py::cast<std::string>(info.attr("device"));
}
