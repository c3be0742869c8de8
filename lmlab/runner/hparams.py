"""A sweep for TensorBoard: its table of hyperparameters and metrics (HParams).

`tensorboard --logdir <sweep>/tensorboard` shows them; one run is one folder there.
"""

import io

from lmlab.files import publish
from lmlab.record import Events

FILE = "events.out.tfevents.0.lmlab"  # TensorBoard looks for such names


def write_experiment(folder, parameters, grid, metrics):
    """Publish what the runs have in common.

    parameters: lmlab.parameters.Parameter, in the order to show; grid: the
    values of those that are swept; metrics: names.
    """
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    hparams = [_hparam(each, grid.get(each.name, [])) for each in parameters]
    shown = [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=x)) for x in metrics]
    experiment = api_pb2.Experiment(hparam_infos=hparams, metric_infos=shown)
    data = plugin_data_pb2.HParamsPluginData(experiment=experiment)
    _write(folder / FILE, 0.0, [_plugin(metadata.EXPERIMENT_TAG, data)])


def write_run(folder, parameters, metrics, *, ok, seconds, ended):
    """Publish one run: its parameters and metrics, {name: value} each.

    ended: seconds since 1970.
    """
    from tensorboard.compat.proto import summary_pb2
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    start = plugin_data_pb2.SessionStartInfo(start_time_secs=ended - seconds)
    for name, value in parameters.items():
        _set(start.hparams[name], value)
    status = api_pb2.STATUS_SUCCESS if ok else api_pb2.STATUS_FAILURE
    end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=ended)
    wrap = plugin_data_pb2.HParamsPluginData
    values = [
        _plugin(metadata.SESSION_START_INFO_TAG, wrap(session_start_info=start)),
        *(summary_pb2.Summary.Value(tag=k, simple_value=v) for k, v in metrics.items()),
        _plugin(metadata.SESSION_END_INFO_TAG, wrap(session_end_info=end)),
    ]
    _write(folder / FILE, ended, values)


def _hparam(parameter, values):
    """What the table says of a parameter: its type, and the values to filter by."""
    from tensorboard.plugins.hparams import api_pb2

    kinds = {
        "int": api_pb2.DATA_TYPE_FLOAT64,
        "float": api_pb2.DATA_TYPE_FLOAT64,
        "bool": api_pb2.DATA_TYPE_BOOL,
    }
    info = api_pb2.HParamInfo(
        name=parameter.name,
        description=parameter.help,
        type=kinds.get(parameter.type, api_pb2.DATA_TYPE_STRING),
        differs=len(values) > 1,  # these are shown first
    )
    for value in values:
        _set(info.domain_discrete.values.add(), value)
    return info


def _set(field, value):
    """Set a protobuf Value; it has no int and, as HParams reads it, no list."""
    if isinstance(value, bool):
        field.bool_value = value
    elif isinstance(value, int | float):
        field.number_value = value
    else:
        field.string_value = str(value)


def _plugin(tag, data):
    from tensorboard.compat.proto import summary_pb2
    from tensorboard.plugins.hparams import metadata

    return summary_pb2.Summary.Value(
        tag=tag,
        metadata=metadata.create_summary_metadata(data),
        tensor=metadata.NULL_TENSOR,
    )


def _write(path, when, values):
    from tensorboard.compat.proto.summary_pb2 import Summary

    data = io.BytesIO()
    Events(data, lambda: when).write(summary=Summary(value=values))
    publish(path, data.getvalue())
