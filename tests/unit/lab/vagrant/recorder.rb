# Evaluates the Vagrantfile without Vagrant and prints, as JSON, what it asked for.
require "json"

class Recorder
  attr_reader :said

  def initialize
    @said = {}
  end

  def define(name, &block)
    machine = Recorder.new
    block.call(machine)
    (@said["machines"] ||= {})[name] = machine.said
  end

  def network(kind, **options)
    (@said["networks"] ||= []) << { kind: kind, **options }
  end

  def synced_folder(*, **options)
    (@said["folders"] ||= []) << options
  end

  def provider(name)
    yield((@said["providers"] ||= {})[name] = Recorder.new)
  end

  def method_missing(name, *values, **options)
    return @said[name.to_s.chomp("=")] = values.first if name.to_s.end_with?("=")
    return @said[name.to_s] = values + [options] unless values.empty? && options.empty?

    @said[name.to_s] ||= Recorder.new
  end

  def respond_to_missing?(*)
    true
  end

  def to_json(*rest)
    @said.to_json(*rest)
  end
end

module Vagrant
  def self.configure(_)
    config = Recorder.new
    yield config
    puts config.to_json
  end
end

load ARGV.first
