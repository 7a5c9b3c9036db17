// MIRNetRuntime for C++: pictures in and out as they lie in memory, from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>

// What mirnet-deploy says, in one line.
struct EnhancerError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// The one Python of this process. Make it in main, before any Enhancer, and let it outlive them all.
//
// `executable` is the python of the environment in which mirnet-deploy is installed. The thread that makes it holds no
// lock afterwards: every call below takes Python's lock for itself and gives it back.
class Python {
public:
    explicit Python(const std::string& executable);
    ~Python();
    Python(const Python&) = delete;
    Python& operator=(const Python&) = delete;

private:
    struct State;
    std::unique_ptr<State> state_;
};

// One model on one device; pictures are BGR. May be shared by threads: `enhance` blocks its own thread alone, since
// Python's lock is given up while the network runs.
class Enhancer {
public:
    // `model`: a bundled model's name, an .onnx or a .plan file. `device`: "auto", "cpu" or "cuda:N".
    Enhancer(const std::string& model, const std::string& device);
    ~Enhancer();
    Enhancer(const Enhancer&) = delete;
    Enhancer& operator=(const Enhancer&) = delete;

    // Enhances a picture of 8 bits, rows `step` bytes apart, into another of the same size. Both are the caller's, and
    // are not copied on the host; returns when `target` is written. Throws EnhancerError.
    void enhance(const std::uint8_t* source, std::size_t source_step, std::uint8_t* target, std::size_t target_step,
                 int rows, int cols) const;

    // What runs it, for a log: library, version and device.
    std::string backend() const;

private:
    struct State;
    std::unique_ptr<State> state_;
};
